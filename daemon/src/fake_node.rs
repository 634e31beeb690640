//! A node for tests that answers whatever it is told to.

use crate::actions::Remote;
use crate::client::{Client, Status};
use crate::genesis_file;
use protocol::genesis::{Genesis, Params};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

/// The genesis of its network.
pub(crate) fn genesis() -> Genesis {
    Genesis {
        network: "fake".to_owned(),
        time_ms: 1_700_000_000_000,
        params: Params::devnet(),
        validators: Vec::new(),
        accounts: Vec::new(),
    }
}

/// Connects to a node that answers requests, as `GET /path` and a body, with a status and a body. It lives as long as
/// the test.
pub(crate) fn start(mut answer: impl FnMut(&str, &[u8]) -> (u16, Vec<u8>) + Send + 'static) -> Remote {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            reader.read_line(&mut request).unwrap();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() <= 2 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = request.trim_end().trim_end_matches(" HTTP/1.1");
            let (status, body) = match request {
                "GET /v1/status" => (200, serde_json::to_vec(&status()).unwrap()),
                "GET /v1/genesis" => (200, serde_json::to_vec(&genesis_file::to_json(&genesis()).unwrap()).unwrap()),
                request => answer(request, &body),
            };
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
        }
    });
    Remote::connect(Client::new(&url).unwrap()).unwrap()
}

fn status() -> Status {
    Status {
        version: String::new(),
        network: "fake".to_owned(),
        genesis: genesis().hash().to_string(),
        peer_id: crate::network::peer_id([1; 32]).unwrap().to_string(),
        height: 1,
        block: String::new(),
        epoch_ms: 100,
        state_root: String::new(),
        peers: 0,
        validator: false,
        pool: 0,
        syncing: false,
    }
}
