//! How a connection ends.

use tokio::io::{AsyncReadExt, duplex};

use super::*;
use crate::mqtt::stepped;

/// Some brokers wait for the client's end, and the gateway for theirs.
#[tokio::test]
async fn whoever_says_goodbye_ends_its_side() {
    let (ours, mut theirs) = duplex(1024);
    let options = stepped::options(Version::V5);
    let connection = Connection::new(Box::new(ours), &options, 1024.into());
    let broker = async move {
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let closing = connection.close(Duration::from_hours(1));
    let both = async { tokio::join!(broker, closing).0 };
    let bytes = timeout(Duration::from_secs(10), both).await;
    assert_eq!(bytes.unwrap(), [0xe0, 0], "DISCONNECT");
}
