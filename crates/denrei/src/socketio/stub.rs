#![allow(missing_docs, unused)]
use std::sync::Arc;
use bytes::Bytes;
use denrei_hub::Hub;
use denrei_proto::socketio::Args;
use crate::socketio::lane::Lane;
pub struct Io(Hub);
impl Io {
    pub(crate) fn new(hub: Hub) -> Self { Self(hub) }
    pub(crate) fn has_root(&self) -> bool { false }
    pub(crate) fn connect(&self, lane: &Arc<Lane>, handshake: &Arc<Handshake>, namespace: &str, auth: Option<Bytes>) {}
}
#[derive(Debug, Clone)]
pub struct Socket;
impl Socket {
    pub(crate) fn namespace_name(&self) -> &Arc<str> { todo!() }
    pub(crate) fn receive(&self, id: Option<u64>, name: &str, args: Args) -> bool { true }
    pub(crate) fn answer(&self, id: u64, args: Args) {}
    pub(crate) fn leave(&self, reason: Reason) {}
}
#[derive(Clone, Default, Debug)]
pub struct Handshake { pub headers: Vec<(String,String)>, pub query: Vec<(String,String)>, pub url: String, pub xdomain: bool, pub issued: u64, pub identity: crate::Identity }
#[derive(Clone, Copy, Debug)]
pub enum Reason { TransportError, TransportClose, ForcedClose, PingTimeout, ParseError, ServerShuttingDown, ClientNamespaceDisconnect }
impl From<denrei_proto::engineio::Reason> for Reason { fn from(_: denrei_proto::engineio::Reason) -> Self { Self::TransportClose } }
