//! Schemas of members that are one of some words: the words are those of the type that has them.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::record::Reason;
use crate::state::metrics::Label;
use crate::state::presence::Presence;

fn words(all: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    RefOr::T(text.enum_values(Some(all)).build().into())
}

/// The states of a sensor.
pub(super) struct State;

impl PartialSchema for State {
    fn schema() -> RefOr<Schema> {
        words(Presence::ALL.iter().map(|it| it.word()))
    }
}

impl ToSchema for State {}

/// Why a message became a dead letter.
pub(super) struct Why;

impl PartialSchema for Why {
    fn schema() -> RefOr<Schema> {
        words(Reason::ALL.map(Reason::as_str))
    }
}

impl ToSchema for Why {}
