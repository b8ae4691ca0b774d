//! Parts that the library leaves to plugins: retained messages and shared subscriptions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::subscribe::SharedSubscription;
use rmqtt::types::{
    ClientId, Id, IsOnline, NodeId, Retain, SharedGroup, SubscriptionIdentifier,
    SubscriptionOptions, TopicFilter, TopicName,
};

/// Installs the parts in a broker that does not serve yet.
pub(super) async fn install(context: &ServerContext) {
    *context.extends.retain_mut().await = Box::new(Retained(DefaultRetainStorage::new()));
    *context.extends.shared_subscription_mut().await = Box::new(Turns::default());
}

/// Retained messages, in memory.
struct Retained(DefaultRetainStorage);

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    async fn set(
        &self,
        topic: &TopicName,
        message: Retain,
        expiry: Option<Duration>,
    ) -> rmqtt::Result<()> {
        self.0.set_with_timeout(topic, message, expiry.filter(|e| !e.is_zero())).await
    }

    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        self.0.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.0.count().await
    }

    async fn max(&self) -> isize {
        self.0.max().await
    }
}

/// One subscriber of a group, as the library lists it.
type Member =
    (NodeId, ClientId, SubscriptionOptions, Option<Vec<SubscriptionIdentifier>>, Option<IsOnline>);

/// Shared subscriptions: the members of a group take turns, connected ones first.
#[derive(Default)]
struct Turns(AtomicUsize);

#[async_trait]
impl SharedSubscription for Turns {
    fn is_supported(&self) -> bool {
        true
    }

    async fn choice(
        &self,
        _: &ServerContext,
        _: &SharedGroup,
        _: &Id,
        _: &TopicName,
        members: &[Member],
    ) -> Option<(usize, IsOnline)> {
        let connected = |place: &usize| members.get(*place).is_some_and(|m| m.4 == Some(true));
        let first = self.0.fetch_add(1, Ordering::Relaxed).checked_rem(members.len())?;
        let places = (first..members.len()).chain(0..first);
        Some(places.clone().find(connected).map_or((first, false), |place| (place, true)))
    }
}
