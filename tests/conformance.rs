//! What MQTT asks of a client, statement by statement, and which test holds us to it.
//!
//! The statements are those that bind a client, as sender or as receiver, by their numbers in the standards'
//! lists of normative statements ("[MQTT-3.1.0-1]"); those for servers alone are only named. Each has a test
//! ([`Test`]), is done otherwise with a reason and a test that shows it ([`Otherwise`]), or does not arise
//! ([`Never`]). [`BINDING_5`] and [`BINDING_3`] are the lists that the tables must match; with [`SERVERS_5`]
//! and [`SERVERS_3`] they leave no number out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use Proof::{Never, Otherwise, Test};

/// How a statement is held.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// By this test.
    Test(&'static str),
    /// It is not, for this reason; this test shows what is done instead.
    Otherwise(&'static str, &'static str),
    /// It does not arise.
    Never(&'static str),
}

/// Number, what it asks for, how it is held.
type Row = (&'static str, &'static str, Proof);

const NO_WILL: Proof = Never("no will is set");
const NO_AUTH: Proof = Never("no authentication method is named, and no AUTH is sent");
const NO_ALIAS: Proof = Never("no topic alias is offered or used");
const NO_QOS_2: Proof = Never("nothing is published with QoS 2");
const NO_RESPONSE: Proof = Never("nothing asks for a response");
const CONNECT: Proof = Test("a_connect_is_as_the_standard_has_it");
const SUBSCRIBE: Proof = Test("subscriptions_are_as_the_standard_has_them");
const PUBLISH: Proof = Test("a_publish_is_as_the_standard_has_it");
const ANSWERS: Proof = Test("answers_are_as_the_standard_has_them");
const FILTERS: Proof = Test("filters_are_checked_when_made");
const TOPICS: Proof = Test("a_topic_has_no_wildcard");
const IDS: Proof = Test("no_packet_id_is_0_or_in_use");
const IDLE: Proof = Test("an_idle_client_pings_within_the_keep_alive_of_either_side");
const FIRST_AND_LAST: Proof = Test("connect_is_the_first_that_is_sent_and_disconnect_the_last");
const MALFORMED: Proof = Test("a_packet_that_is_not_as_the_standard_has_it_is_an_error");
const BREACH: Proof = Test("a_breach_of_the_protocol_costs_the_connection_and_no_reading");
const RESUMED: Proof =
    Test("a_resumed_session_binds_what_is_held_and_acknowledges_what_has_settled");
const NEW_SESSION: Proof =
    Test("what_was_not_answered_is_published_again_in_order_before_anything_new");
const RESENT: Proof = Test("what_a_lost_connection_left_goes_again_first_and_in_order");
const IN_ORDER: Proof = Test("acknowledgements_downstream_in_any_order_leave_upstream_in_order");
const QOS_2: Proof = Test("messages_of_qos_2_in_our_session_are_taken_and_do_not_wedge_it");
const PUBREC: Proof = Test("messages_of_qos_2_are_answered_with_pubrec");
const OTHER_TEXT: Proof = Otherwise(
    "with a persistent session it would come again, for ever: it becomes a dead letter",
    "a_topic_that_is_not_utf8_makes_a_dead_letter_and_the_rest_flows_on",
);
const NUL: Proof = Otherwise(
    "for the same reason it becomes a dead letter",
    "sensor_ids_that_cannot_stand_in_an_envelope_become_dead_letters",
);
const TWICE: Proof = Otherwise(
    "QoS 2 is never asked for, and what somebody else asked for in our session is taken at least once",
    "messages_of_qos_2_in_our_session_are_taken_and_do_not_wedge_it",
);

/// MQTT 5: section, and the numbers in it.
const BINDING_5: &[(&str, &[u16])] = &[
    ("1.5.4", &[1, 2, 3]),
    ("1.5.5", &[1]),
    ("1.5.7", &[1]),
    ("2.1.3", &[1]),
    ("2.2.1", &[2, 3, 5]),
    ("2.2.2", &[1]),
    ("3.1.0", &[1]),
    ("3.1.2", &[1, 4, 9, 11, 12, 13, 16, 17, 18, 19, 20, 21, 23, 30]),
    ("3.1.3", &[1, 2, 3, 4, 11, 12]),
    ("3.2.2", &[4, 5, 11, 14, 15, 17, 18, 21]),
    ("3.3.1", &[1, 2, 3, 4]),
    ("3.3.2", &[1, 2, 7, 8, 9, 10, 13, 14, 19]),
    ("3.3.4", &[1, 6, 7, 8]),
    ("3.4.2", &[1, 2, 3]),
    ("3.5.2", &[1, 2, 3]),
    ("3.6.1", &[1]),
    ("3.6.2", &[1, 2, 3]),
    ("3.7.2", &[1, 2, 3]),
    ("3.8.1", &[1]),
    ("3.8.3", &[1, 2, 4, 5]),
    ("3.10.1", &[1]),
    ("3.10.3", &[1, 2]),
    ("3.14.1", &[1]),
    ("3.14.2", &[1, 3, 4]),
    ("3.14.4", &[1, 2]),
    ("3.15.1", &[1]),
    ("3.15.2", &[1, 2, 3]),
    ("4.1.0", &[1]),
    ("4.2", &[1]),
    ("4.3.1", &[1]),
    ("4.3.2", &[1, 2, 3, 4, 5]),
    ("4.3.3", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ("4.4.0", &[1, 2]),
    ("4.5.0", &[2]),
    ("4.6.0", &[1, 2, 3, 4]),
    ("4.7.0", &[1]),
    ("4.7.1", &[1, 2]),
    ("4.7.3", &[1, 2, 3]),
    ("4.8.2", &[1, 2]),
    ("4.9.0", &[1, 2, 3]),
    ("4.12.0", &[3, 5, 7]),
    ("4.12.1", &[1, 2]),
    ("4.13.2", &[1]),
    ("6.0.0", &[1, 2, 3]),
];

/// MQTT 3.1.1, likewise.
const BINDING_3: &[(&str, &[u16])] = &[
    ("1.5.3", &[1, 2, 3]),
    ("2.2.2", &[1, 2]),
    ("2.3.1", &[1, 2, 3, 5, 6]),
    ("3.1.0", &[1]),
    ("3.1.2", &[4, 6, 9, 11, 13, 14, 15, 18, 19, 20, 21, 22, 23]),
    ("3.1.3", &[1, 2, 3, 4, 7, 10, 11]),
    ("3.3.1", &[1, 2, 3, 4]),
    ("3.3.2", &[1, 2]),
    ("3.3.4", &[1]),
    ("3.6.1", &[1]),
    ("3.8.1", &[1]),
    ("3.8.3", &[1, 3]),
    ("3.10.1", &[1]),
    ("3.10.3", &[1, 2]),
    ("3.14.4", &[1, 2]),
    ("4.1.0", &[1, 2]),
    ("4.3.1", &[1]),
    ("4.3.2", &[1, 2]),
    ("4.3.3", &[1, 2]),
    ("4.4.0", &[1]),
    ("4.5.0", &[2]),
    ("4.6.0", &[1, 2, 3, 4]),
    ("4.7.1", &[1, 2, 3]),
    ("4.7.3", &[1, 2, 3]),
    ("4.8.0", &[1, 2]),
    ("6.0.0", &[1, 2, 3]),
    ("7.0.0", &[2]),
    ("7.1.2", &[1]),
];

/// MQTT 5's that bind servers alone. With those above they are all that it has.
const SERVERS_5: &[(&str, &[u16])] = &[
    ("2.2.1", &[4, 6]),
    ("3.1.0", &[2]),
    ("3.1.2", &[2, 3, 5, 6, 7, 8, 10, 14, 15, 22, 24, 25, 26, 27, 28, 29]),
    ("3.1.3", &[5, 6, 7, 8, 9, 10]),
    ("3.1.4", &[1, 2, 3, 4, 5, 6]),
    ("3.2.0", &[1, 2]),
    ("3.2.2", &[1, 2, 3, 6, 7, 8, 9, 10, 12, 13, 16, 19, 20, 22]),
    ("3.3.1", &[5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ("3.3.2", &[3, 4, 5, 6, 11, 12, 15, 16, 17, 18, 20]),
    ("3.3.4", &[2, 3, 4, 5, 9, 10]),
    ("3.8.3", &[3]),
    ("3.8.4", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("3.9.2", &[1, 2]),
    ("3.9.3", &[1, 2]),
    ("3.10.4", &[1, 2, 3, 4, 5, 6]),
    ("3.11.2", &[1, 2]),
    ("3.11.3", &[1, 2]),
    ("3.12.4", &[1]),
    ("3.14.0", &[1]),
    ("3.14.2", &[2]),
    ("3.14.4", &[3]),
    ("4.1.0", &[2]),
    ("4.5.0", &[1]),
    ("4.6.0", &[5, 6]),
    ("4.7.2", &[1]),
    ("4.7.3", &[4]),
    ("4.8.2", &[3, 4, 5, 6]),
    ("4.12.0", &[1, 2, 4, 6]),
    ("4.13.1", &[1]),
    ("6.0.0", &[4]),
];

/// MQTT 3.1.1, likewise.
const SERVERS_3: &[(&str, &[u16])] = &[
    ("2.3.1", &[4, 7]),
    ("3.1.0", &[2]),
    ("3.1.2", &[1, 2, 3, 5, 7, 8, 10, 12, 16, 17, 24]),
    ("3.1.3", &[5, 6, 8, 9]),
    ("3.1.4", &[1, 2, 3, 4, 5]),
    ("3.2.0", &[1]),
    ("3.2.2", &[1, 2, 3, 4, 5, 6]),
    ("3.3.1", &[5, 6, 7, 8, 9, 10, 11, 12]),
    ("3.3.2", &[3]),
    ("3.3.5", &[1, 2]),
    ("3.8.3", &[2, 4]),
    ("3.8.4", &[1, 2, 3, 4, 5, 6]),
    ("3.9.3", &[1, 2]),
    ("3.10.4", &[1, 2, 3, 4, 5, 6]),
    ("3.12.4", &[1]),
    ("3.14.1", &[1]),
    ("3.14.4", &[3]),
    ("4.5.0", &[1]),
    ("4.6.0", &[5, 6]),
    ("4.7.2", &[1]),
    ("4.7.3", &[4]),
    ("6.0.0", &[4]),
    ("7.0.0", &[1]),
    ("7.1.1", &[1]),
];

#[rustfmt::skip]
const ROWS_5: &[Row] = &[
    ("1.5.4-1", "texts are well-formed UTF-8", CONNECT),
    ("1.5.4-2", "texts hold no U+0000", Test("a_user_name_that_mqtt_cannot_carry_is_refused")),
    ("1.5.4-3", "U+FEFF is a character of a text and is not stripped", Test("what_could_forge_a_line_is_written_as_an_escape")),
    ("1.5.5-1", "a length has as few bytes as it can", PUBLISH),
    ("1.5.7-1", "both texts of a pair are texts", PUBLISH),
    ("2.1.3-1", "reserved flags have the values listed", SUBSCRIBE),
    ("2.2.1-2", "a publish of QoS 0 has no packet id", PUBLISH),
    ("2.2.1-3", "other packets of ours have one that is not 0 and not in use", IDS),
    ("2.2.1-5", "an acknowledgement has the packet id of the publish", Test("acknowledgements_leave_in_order_of_arrival")),
    ("2.2.2-1", "no properties are a length of 0", SUBSCRIBE),
    ("3.1.0-1", "CONNECT is the first packet", FIRST_AND_LAST),
    ("3.1.2-1", "the protocol is called MQTT", CONNECT),
    ("3.1.2-4", "a clean start forgets the session", NEW_SESSION),
    ("3.1.2-9", "a will has properties, topic and payload", NO_WILL),
    ("3.1.2-11", "without a will its QoS is 0", CONNECT),
    ("3.1.2-12", "a will's QoS is 0, 1 or 2", NO_WILL),
    ("3.1.2-13", "without a will it is not retained", CONNECT),
    ("3.1.2-16", "without its flag there is no user name", CONNECT),
    ("3.1.2-17", "with its flag there is one", CONNECT),
    ("3.1.2-18", "without its flag there is no password", CONNECT),
    ("3.1.2-19", "with its flag there is one", CONNECT),
    ("3.1.2-20", "an idle client sends PINGREQ within its keep-alive", IDLE),
    ("3.1.2-21", "the keep-alive that the server names goes before ours", IDLE),
    ("3.1.2-23", "the session's state outlives the connection", RESUMED),
    ("3.1.2-30", "with an authentication method only AUTH goes before CONNACK", NO_AUTH),
    ("3.1.3-1", "the fields of CONNECT are in their order", CONNECT),
    ("3.1.3-2", "the client id names the session", Test("client_ids_begin_as_asked_for_and_with_the_gateways_id_else")),
    ("3.1.3-3", "the client id is there and the first field", CONNECT),
    ("3.1.3-4", "the client id is a text", CONNECT),
    ("3.1.3-11", "a will's topic is a text", NO_WILL),
    ("3.1.3-12", "the user name is a text", CONNECT),
    ("3.2.2-4", "a session that we know nothing of ends the connection", Otherwise("a gateway that starts takes up the session of its last run: what is unacknowledged comes again, and nothing else is needed", "what_is_left_unacknowledged_comes_again_to_the_next_run")),
    ("3.2.2-5", "our state goes with the session that the server has lost", Test("a_lost_session_forgets_and_late_settlements_are_ignored")),
    ("3.2.2-11", "nothing is published above the server's Maximum QoS", Test("a_broker_that_takes_no_qos_1_is_sent_none")),
    ("3.2.2-14", "nothing is to be retained where that is not available", Test("a_broker_that_retains_nothing_is_asked_to_retain_nothing")),
    ("3.2.2-15", "no packet exceeds the server's Maximum Packet Size", Test("readings_get_through_small_packets_as_they_are_or_as_letters_with_their_value")),
    ("3.2.2-17", "no topic alias exceeds the server's maximum", NO_ALIAS),
    ("3.2.2-18", "no topic alias where none is allowed", PUBLISH),
    ("3.2.2-21", "the keep-alive that the server names goes before ours", IDLE),
    ("3.3.1-1", "what is sent again has DUP", RESENT),
    ("3.3.1-2", "QoS 0 has no DUP", Test("a_plain_publish_is_what_the_codec_writes")),
    ("3.3.1-3", "DUP says only whether this is sent again", PUBLISH),
    ("3.3.1-4", "no QoS of 3", BREACH),
    ("3.3.2-1", "a publish begins with its topic, a text", PUBLISH),
    ("3.3.2-2", "a topic has no wildcards", TOPICS),
    ("3.3.2-7", "no topic alias outlives its connection", NO_ALIAS),
    ("3.3.2-8", "no topic alias is 0", NO_ALIAS),
    ("3.3.2-9", "no topic alias exceeds the maximum", NO_ALIAS),
    ("3.3.2-10", "topic aliases are taken up to the maximum that we name", NO_ALIAS),
    ("3.3.2-13", "a response topic is a text", NO_RESPONSE),
    ("3.3.2-14", "a response topic has no wildcards", NO_RESPONSE),
    ("3.3.2-19", "a content type is a text", PUBLISH),
    ("3.3.4-1", "a publish is answered by its QoS", QOS_2),
    ("3.3.4-6", "a publish of ours has no subscription identifier", PUBLISH),
    ("3.3.4-7", "no more is unanswered than the server's Receive Maximum", Test("the_brokers_receive_maximum_is_respected")),
    ("3.3.4-8", "nothing but publishes waits for it", Test("connections_stay_alive_while_everything_waits")),
    ("3.4.2-1", "PUBACK has one of its reason codes", ANSWERS),
    ("3.4.2-2", "no reason string makes it larger than the server takes", ANSWERS),
    ("3.4.2-3", "no user property does", ANSWERS),
    ("3.5.2-1", "PUBREC has one of its reason codes", ANSWERS),
    ("3.5.2-2", "no reason string makes it larger than the server takes", ANSWERS),
    ("3.5.2-3", "no user property does", ANSWERS),
    ("3.6.1-1", "PUBREL has its reserved flags", MALFORMED),
    ("3.6.2-1", "PUBREL has one of its reason codes", NO_QOS_2),
    ("3.6.2-2", "no reason string makes it larger than the server takes", NO_QOS_2),
    ("3.6.2-3", "no user property does", NO_QOS_2),
    ("3.7.2-1", "PUBCOMP has one of its reason codes", ANSWERS),
    ("3.7.2-2", "no reason string makes it larger than the server takes", ANSWERS),
    ("3.7.2-3", "no user property does", ANSWERS),
    ("3.8.1-1", "SUBSCRIBE has its reserved flags", SUBSCRIBE),
    ("3.8.3-1", "filters are texts", SUBSCRIBE),
    ("3.8.3-2", "there is one at least", SUBSCRIBE),
    ("3.8.3-4", "a shared subscription is not \"no local\"", SUBSCRIBE),
    ("3.8.3-5", "reserved bits of its options are 0", SUBSCRIBE),
    ("3.10.1-1", "UNSUBSCRIBE has its reserved flags", SUBSCRIBE),
    ("3.10.3-1", "its filters are texts", SUBSCRIBE),
    ("3.10.3-2", "there is one at least", SUBSCRIBE),
    ("3.14.1-1", "a DISCONNECT with other flags is malformed", MALFORMED),
    ("3.14.2-1", "DISCONNECT has one of its reason codes", Test("what_we_write_by_hand_is_what_the_codec_writes")),
    ("3.14.2-3", "no reason string makes it larger than the server takes", ANSWERS),
    ("3.14.2-4", "no user property does", ANSWERS),
    ("3.14.4-1", "nothing is sent after DISCONNECT", FIRST_AND_LAST),
    ("3.14.4-2", "the connection is closed after it", FIRST_AND_LAST),
    ("3.15.1-1", "an AUTH with other flags is malformed", MALFORMED),
    ("3.15.2-1", "AUTH has one of its reason codes", NO_AUTH),
    ("3.15.2-2", "no reason string makes it larger than the server takes", NO_AUTH),
    ("3.15.2-3", "no user property does", NO_AUTH),
    ("4.1.0-1", "the session's state lasts as long as the connection", RESUMED),
    ("4.2-1", "an ordered and lossless stream of bytes lies beneath", Test("readings_come_over_tls_with_certificates_on_both_sides")),
    ("4.3.1-1", "QoS 0: sent with QoS 0 and without DUP", PUBLISH),
    ("4.3.2-1", "QoS 1: a new message has an unused packet id", IDS),
    ("4.3.2-2", "it goes with that id, QoS 1 and no DUP", PUBLISH),
    ("4.3.2-3", "it counts as unacknowledged until its PUBACK", Test("nothing_settles_before_the_broker_has_answered")),
    ("4.3.2-4", "what came is answered with PUBACK once it is ours", Test("nothing_is_acknowledged_upstream_before_its_batch_is_acknowledged_downstream")),
    ("4.3.2-5", "after PUBACK the same id is a new message, whatever its DUP says", Otherwise("a PUBACK that is lost with its connection is one that the broker does not have: with DUP and the same content it is known", "lost_acknowledgements_are_known_where_ids_count_up_and_taken_again_where_they_do_not")),
    ("4.3.3-1", "QoS 2: a new message has an unused packet id", NO_QOS_2),
    ("4.3.3-2", "it goes with that id, QoS 2 and no DUP", NO_QOS_2),
    ("4.3.3-3", "it counts as unacknowledged until its PUBREC", NO_QOS_2),
    ("4.3.3-4", "PUBREC is answered with PUBREL", NO_QOS_2),
    ("4.3.3-5", "PUBREL counts as unacknowledged until its PUBCOMP", NO_QOS_2),
    ("4.3.3-6", "after PUBREL the publish is not sent again", NO_QOS_2),
    ("4.3.3-7", "what was sent does not expire", NO_QOS_2),
    ("4.3.3-8", "what came is answered with PUBREC once it is ours", PUBREC),
    ("4.3.3-9", "after a PUBREC that refuses the same id is new", Never("no PUBREC refuses")),
    ("4.3.3-10", "until PUBREL the same id is answered and not taken again", TWICE),
    ("4.3.3-11", "PUBREL is answered with PUBCOMP", QOS_2),
    ("4.3.3-12", "after PUBCOMP the same id is new", QOS_2),
    ("4.3.3-13", "the exchange goes on whatever expires", Never("nothing that came expires")),
    ("4.4.0-1", "a resumed session sends again what is unacknowledged, with its ids", RESENT),
    ("4.4.0-2", "what is refused is not sent again", Otherwise("nothing is given up: it is published anew, as another message with another id, after a pause", "a_refused_batch_is_not_tried_again_before_its_pause_has_passed")),
    ("4.5.0-2", "whatever comes is acknowledged, whatever becomes of it", Test("rubbish_becomes_dead_letters_and_the_good_readings_beside_it_arrive_in_order")),
    ("4.6.0-1", "publishes are sent again in their order", RESENT),
    ("4.6.0-2", "PUBACKs go in the order of the publishes", IN_ORDER),
    ("4.6.0-3", "PUBRECs go in the order of the publishes", PUBREC),
    ("4.6.0-4", "PUBRELs go in the order of the PUBRECs", NO_QOS_2),
    ("4.7.0-1", "wildcards are in filters only", TOPICS),
    ("4.7.1-1", "\"#\" is a whole level and the last", FILTERS),
    ("4.7.1-2", "\"+\" is a whole level", FILTERS),
    ("4.7.3-1", "topics and filters have a character at least", FILTERS),
    ("4.7.3-2", "they hold no U+0000", FILTERS),
    ("4.7.3-3", "they have no more than 65,535 bytes", FILTERS),
    ("4.8.2-1", "a shared subscription begins with $share and a name", SUBSCRIBE),
    ("4.8.2-2", "the name has no wildcards and no slash", TOPICS),
    ("4.9.0-1", "as much may be sent at first as the Receive Maximum says", Test("small_limits_in_connack_let_readings_through_without_a_reconnect")),
    ("4.9.0-2", "no publish goes where nothing of it is left", Test("a_smaller_receive_maximum_after_a_reconnect_is_respected")),
    ("4.9.0-3", "all else goes on", Test("connections_stay_alive_while_everything_waits")),
    ("4.12.0-3", "AUTH is answered with AUTH", NO_AUTH),
    ("4.12.0-5", "each AUTH names the same method", NO_AUTH),
    ("4.12.0-7", "without a method no AUTH is sent", NO_AUTH),
    ("4.12.1-1", "authenticating again names the same method", NO_AUTH),
    ("4.12.1-2", "where it fails the connection ends with a reason", NO_AUTH),
    ("4.13.2-1", "a reason of 0x80 or more ends the connection", Test("what_is_refused_at_first_and_granted_later_works_in_the_end")),
    ("6.0.0-1", "WebSocket: only binary frames", Test("what_is_no_binary_stream_is_an_error")),
    ("6.0.0-2", "frames need not end where packets do", Test("any_frames_give_the_same_bytes_in_any_pieces_within_the_same_memory")),
    ("6.0.0-3", "the subprotocol is called mqtt", Test("readings_and_batches_travel_inside_websocket")),
];

#[rustfmt::skip]
const ROWS_3: &[Row] = &[
    ("1.5.3-1", "a text that is not UTF-8 ends the connection", OTHER_TEXT),
    ("1.5.3-2", "so does U+0000", NUL),
    ("1.5.3-3", "U+FEFF is a character of a text and is not stripped", Test("what_could_forge_a_line_is_written_as_an_escape")),
    ("2.2.2-1", "reserved flags have the values listed", SUBSCRIBE),
    ("2.2.2-2", "other flags end the connection", BREACH),
    ("2.3.1-1", "SUBSCRIBE, UNSUBSCRIBE and PUBLISH have a packet id that is not 0", SUBSCRIBE),
    ("2.3.1-2", "it is not in use", IDS),
    ("2.3.1-3", "what is sent again has the same", RESENT),
    ("2.3.1-5", "a publish of QoS 0 has none", PUBLISH),
    ("2.3.1-6", "an acknowledgement has that of the publish", Test("acknowledgements_leave_in_order_of_arrival")),
    ("3.1.0-1", "CONNECT is the first packet", FIRST_AND_LAST),
    ("3.1.2-4", "without a clean session its state outlives the connection", RESUMED),
    ("3.1.2-6", "with one it is forgotten", NEW_SESSION),
    ("3.1.2-9", "a will has a topic and a message", NO_WILL),
    ("3.1.2-11", "without a will there is nothing of it", CONNECT),
    ("3.1.2-13", "without a will its QoS is 0", CONNECT),
    ("3.1.2-14", "a will's QoS is 0, 1 or 2", NO_WILL),
    ("3.1.2-15", "without a will it is not retained", CONNECT),
    ("3.1.2-18", "without its flag there is no user name", CONNECT),
    ("3.1.2-19", "with its flag there is one", CONNECT),
    ("3.1.2-20", "without its flag there is no password", CONNECT),
    ("3.1.2-21", "with its flag there is one", CONNECT),
    ("3.1.2-22", "no password without a user name", CONNECT),
    ("3.1.2-23", "an idle client sends PINGREQ within its keep-alive", IDLE),
    ("3.1.3-1", "the fields of CONNECT are in their order", CONNECT),
    ("3.1.3-2", "the client id names the session", Test("client_ids_begin_as_asked_for_and_with_the_gateways_id_else")),
    ("3.1.3-3", "the client id is there and the first field", CONNECT),
    ("3.1.3-4", "the client id is a text", CONNECT),
    ("3.1.3-7", "an empty client id needs a clean session", Never("no client id is empty: each ends in the name of its client")),
    ("3.1.3-10", "a will's topic is a text", NO_WILL),
    ("3.1.3-11", "the user name is a text", CONNECT),
    ("3.3.1-1", "what is sent again has DUP", RESENT),
    ("3.3.1-2", "QoS 0 has no DUP", Test("a_plain_publish_is_what_the_codec_writes")),
    ("3.3.1-3", "DUP says only whether this is sent again", PUBLISH),
    ("3.3.1-4", "a QoS of 3 is not sent, and ends the connection", BREACH),
    ("3.3.2-1", "a publish begins with its topic, a text", PUBLISH),
    ("3.3.2-2", "a topic has no wildcards", TOPICS),
    ("3.3.4-1", "a publish is answered by its QoS", QOS_2),
    ("3.6.1-1", "PUBREL has its reserved flags", MALFORMED),
    ("3.8.1-1", "SUBSCRIBE has its reserved flags", SUBSCRIBE),
    ("3.8.3-1", "filters are texts", SUBSCRIBE),
    ("3.8.3-3", "there is one at least", SUBSCRIBE),
    ("3.10.1-1", "UNSUBSCRIBE has its reserved flags", SUBSCRIBE),
    ("3.10.3-1", "its filters are texts", SUBSCRIBE),
    ("3.10.3-2", "there is one at least", SUBSCRIBE),
    ("3.14.4-1", "the connection is closed after DISCONNECT", FIRST_AND_LAST),
    ("3.14.4-2", "nothing is sent after it", FIRST_AND_LAST),
    ("4.1.0-1", "the session's state lasts as long as the session", RESUMED),
    ("4.1.0-2", "and as long as the connection", RESUMED),
    ("4.3.1-1", "QoS 0: sent with QoS 0 and without DUP", PUBLISH),
    ("4.3.2-1", "QoS 1: sent with an unused id, unacknowledged until its PUBACK", Test("nothing_settles_before_the_broker_has_answered")),
    ("4.3.2-2", "what came is answered with PUBACK once it is ours", Test("nothing_is_acknowledged_upstream_before_its_batch_is_acknowledged_downstream")),
    ("4.3.3-1", "QoS 2: sent, released and not sent again after that", NO_QOS_2),
    ("4.3.3-2", "what came is answered with PUBREC and PUBCOMP and taken once", TWICE),
    ("4.4.0-1", "a resumed session sends again what is unacknowledged, with its ids", RESENT),
    ("4.5.0-2", "whatever comes is acknowledged, whatever becomes of it", Test("rubbish_becomes_dead_letters_and_the_good_readings_beside_it_arrive_in_order")),
    ("4.6.0-1", "publishes are sent again in their order", RESENT),
    ("4.6.0-2", "PUBACKs go in the order of the publishes", IN_ORDER),
    ("4.6.0-3", "PUBRECs go in the order of the publishes", PUBREC),
    ("4.6.0-4", "PUBRELs go in the order of the PUBRECs", NO_QOS_2),
    ("4.7.1-1", "wildcards are in filters only", TOPICS),
    ("4.7.1-2", "\"#\" is a whole level and the last", FILTERS),
    ("4.7.1-3", "\"+\" is a whole level", FILTERS),
    ("4.7.3-1", "topics and filters have a character at least", FILTERS),
    ("4.7.3-2", "they hold no U+0000", FILTERS),
    ("4.7.3-3", "they have no more than 65,535 bytes", FILTERS),
    ("4.8.0-1", "a breach of the protocol ends the connection", BREACH),
    ("4.8.0-2", "so does what we cannot do just now", Never("what has no room is not read yet, and waits where it is")),
    ("6.0.0-1", "WebSocket: only binary frames", Test("what_is_no_binary_stream_is_an_error")),
    ("6.0.0-2", "frames need not end where packets do", Test("any_frames_give_the_same_bytes_in_any_pieces_within_the_same_memory")),
    ("6.0.0-3", "the subprotocol is called mqtt", Test("readings_and_batches_travel_inside_websocket")),
    ("7.0.0-2", "no extension of the protocol is needed", Test("a_hundred_thousand_qos_1_readings_come_out_once_and_in_order_with_mqtt_3")),
    ("7.1.2-1", "an ordered and lossless stream of bytes lies beneath", Test("readings_come_over_tls_with_certificates_on_both_sides")),
];

/// The Rust files below these folders.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = folders.iter().map(|it| root.join(it)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The name of a function whose line this is.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(['(', '<']).next()
}

/// The names of all tests, and of what a test calls by a list (`each_fault_of_a_broker_is_found`).
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for path in files(&["src", "tests"]) {
        let text = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let Some(name) = function(line).filter(|_| !line.starts_with("//")) else { continue };
            let is_listed = text.lines().any(|line| line.trim() == format!("{name},"));
            if std::mem::take(&mut is_test) || is_listed {
                tests.insert(name.to_owned());
            }
        }
    }
    tests
}

/// Exactly the statements of the list, each once and in its order, each with words and a test that exists.
fn holds(binding: &[(&str, &[u16])], rows: &[Row]) {
    let numbers = |(section, numbers): &(&str, &[u16])| {
        let section = (*section).to_owned();
        numbers.iter().map(move |number| format!("{section}-{number}")).collect::<Vec<_>>()
    };
    let expected: Vec<String> = binding.iter().flat_map(numbers).collect();
    let listed: Vec<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(listed, expected);
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    let tests = tests();
    for (number, asks, proof) in rows {
        let (reason, test) = match proof {
            Test(test) => (None, Some(test)),
            Otherwise(reason, test) => (Some(reason), Some(test)),
            Never(reason) => (Some(reason), None),
        };
        assert!(!asks.is_empty() && reason.is_none_or(|it| it.len() > 10), "{number}");
        assert!(test.is_none_or(|it| tests.contains(*it)), "{number}: no test is called {test:?}");
    }
}

#[test]
fn every_statement_of_mqtt_5_for_clients_has_its_test_or_its_reason() {
    holds(BINDING_5, ROWS_5);
}

#[test]
fn every_statement_of_mqtt_3_1_1_for_clients_has_its_test_or_its_reason() {
    holds(BINDING_3, ROWS_3);
}

/// Each section's numbers, of both lists: from 1 on, each once, and none left out but `absent`.
fn is_whole(clients: &[(&str, &[u16])], servers: &[(&str, &[u16])], absent: &[(&str, u16)]) {
    let mut sections: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for (section, numbers) in clients.iter().chain(servers) {
        sections.entry(section).or_default().extend(*numbers);
    }
    for (section, number) in absent {
        sections.entry(section).or_default().push(*number);
    }
    for (section, mut numbers) in sections {
        numbers.sort_unstable();
        let expected: Vec<u16> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{section}");
    }
}

#[test]
fn the_statements_for_clients_and_those_for_servers_are_all_there_are() {
    is_whole(BINDING_5, SERVERS_5, &[("2.2.1", 1)]);
    is_whole(BINDING_3, SERVERS_3, &[]);
}

#[test]
fn a_test_that_is_gone_would_be_missed() {
    let tests = tests();
    assert!(tests.contains("a_test_that_is_gone_would_be_missed") && tests.len() > 500);
    assert!(!tests.contains("holds") && !tests.contains("no_such_test"));
}
