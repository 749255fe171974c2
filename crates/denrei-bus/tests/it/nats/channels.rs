//! Channels to other programs.

use denrei_hub::{Channel, Heard, Listen};

use super::*;

#[tokio::test]
async fn a_name_that_means_something_to_nats_is_refused() {
    let server = Server::start();
    let channels = server.node(1).channels;
    for name in ["a.*", ">", "a b", "", "a..b", "$JS.API.STREAM.DELETE.denrei-log", "_INBOX.a", "denrei.b.nodes"] {
        let channel = Channel::Plain(name.into());
        let refused = channels.publish(&channel, Bytes::new()).await.expect_err("it is no channel").to_string();
        assert!(refused.contains("NATS has no channel"), "{refused}");
        assert!(channels.subscribe(Listen::To(channel.clone())).await.is_err(), "{name:?}");
        assert!(channels.count(&channel).await.is_err(), "{name:?}");
    }
    for prefix in ["a.*", "> ", "a b"] {
        assert!(channels.subscribe(Listen::Below(prefix.into())).await.is_err(), "{prefix:?}");
    }
}

#[tokio::test]
async fn who_listens_to_everything_does_not_hear_what_is_ours() {
    let server = Server::start();
    let (one, other) = (server.node(1), server.node(2));
    let mut all = within("a subscription", one.channels.subscribe(Listen::Below("".into()))).await.unwrap();
    append(&other.log, draft(&room("a"), "1")).await;
    other.bus.publish(&denrei_hub::Subject::Nodes, "1".into());
    within("a subscription", other.bus.subscribe(&denrei_hub::Subject::Nodes)).await.unwrap();
    let channel = Channel::Plain("news".into());
    within("a message", other.channels.publish(&channel, "1".into())).await.unwrap();
    assert_eq!(within("a message", all.next()).await, Some(Heard::Message(channel, "1".into())));
}

#[tokio::test]
async fn other_programs_are_heard_and_hear() {
    let server = Server::start();
    let channels = server.node(1).channels;
    let channel = Channel::Plain("program.news".into());
    let mut listening = within("a subscription", channels.subscribe(Listen::To(channel.clone()))).await.unwrap();
    // The protocol is text; a program of a line each will do.
    let mut program = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(
        &mut program,
        b"CONNECT {\"verbose\":false}\r\nSUB program.> 1\r\nPUB program.news 5\r\nhello\r\n",
    )
    .await
    .unwrap();
    assert_eq!(within("a message", listening.next()).await, Some(Heard::Message(channel.clone(), "hello".into())));
    within("a message", channels.publish(&channel, "to all".into())).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("MSG program.news 1 6\r\nto all\r\n") {
        let mut bytes = [0; 4096];
        let count = within("text", tokio::io::AsyncReadExt::read(&mut program, &mut bytes)).await.unwrap();
        assert_ne!(count, 0, "{heard}");
        heard += &String::from_utf8_lossy(&bytes[..count]);
    }
}
