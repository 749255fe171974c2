//! An S3 server that nobody here wrote, for the tests: it keeps objects in a folder, and verifies signatures.
//!
//! `s3 FOLDER BUCKET` listens on a free loopback port, prints its address, and knows the key `denrei` with the secret
//! `denrei-secret`.
#![allow(clippy::print_stdout, reason = "the tests read the address from there")]

use std::error::Error;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(folder), Some(bucket)) = (words.next(), words.next()) else {
        return Err("s3 FOLDER BUCKET".into());
    };
    std::fs::create_dir_all(Path::new(&folder).join(bucket))?;
    let files = FileSystem::new(folder).map_err(|error| format!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single("denrei", "denrei-secret"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // A client that has gone is no fault of the server.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
