//! The other nodes, for services that are one system with theirs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::{Answers, Listener, Node, NodeMessage};
use crate::hub::Hub;
use crate::ids::Name;
use crate::lease::Leases;

impl Hub {
    /// This node.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The other nodes that are there: heard within the time of their lease, and not gone by their own word.
    pub fn nodes(&self) -> Vec<Node> {
        self.0.cluster.as_ref().map(|cluster| cluster.others()).unwrap_or_default()
    }

    /// Whether there may be other nodes.
    pub fn is_clustered(&self) -> bool {
        self.0.cluster.is_some()
    }

    /// Whether the other nodes cannot be heard now.
    pub fn is_cut_off(&self) -> bool {
        self.0.cluster.as_ref().is_some_and(|cluster| cluster.is_down())
    }

    /// Says which node does what one of them does at a time.
    pub fn leases(&self) -> &Arc<dyn Leases> {
        &self.0.leases
    }

    /// Has what other nodes say on topics heard. One call with all of them, before [`Hub::run`].
    pub fn listen(&self, listeners: Vec<(&str, Listener)>) {
        if let Some(cluster) = &self.0.cluster {
            cluster.listen(listeners);
        }
    }

    /// Tells all other nodes something; never blocks, and may be lost. What one caller tells on any topics keeps its
    /// order.
    pub fn tell_nodes(&self, topic: &str, bytes: Bytes) {
        if let Some(cluster) = &self.0.cluster {
            cluster.tell(None, topic, bytes);
        }
    }

    /// Tells one of them.
    pub fn tell_node(&self, node: &Name, topic: &str, bytes: Bytes) {
        if let Some(cluster) = &self.0.cluster {
            cluster.tell(Some(node), topic, bytes);
        }
    }

    /// Asks all other nodes that are there, or one, and waits until they have answered or the patience ends. What is asked
    /// goes out when this is called.
    pub fn ask_nodes(
        &self,
        to: Option<&Name>,
        topic: &str,
        bytes: Bytes,
        patience: Duration,
    ) -> impl Future<Output = Answers> + Send + use<> {
        let topic = topic.into();
        let asked =
            self.0.cluster.as_ref().map(|cluster| {
                cluster.ask(to, patience, |from, number| NodeMessage::Asked { from, number, topic, bytes })
            });
        async move {
            match asked {
                Some(asked) => asked.await,
                None => Answers::default(),
            }
        }
    }

    /// Says goodbye to the other nodes: this one takes part in nothing any more.
    pub fn leave(&self) {
        if let Some(cluster) = &self.0.cluster {
            cluster.leave();
        }
    }
}
