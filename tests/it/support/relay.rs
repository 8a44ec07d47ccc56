//! A TCP relay in front of a server: what passes can be slowed, kept back, or made the moment at which something happens.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Who sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The one that connected.
    Client,
    /// The one behind the relay.
    Server,
}

/// Some bytes on their way.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// Which connection, counted from 0 in the order in which they came.
    pub connection: usize,
    /// Who sent them.
    pub from: From,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// They pass.
    Pass,
    /// They are lost, and the connection stays open.
    Lose,
}

/// The relay. Dropped, it takes no more connections; those that are open end with either of their ends.
pub struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on a free port of loopback. `judge` is asked before anything is passed on, in the thread of that connection and
    /// direction, so it may also wait.
    pub fn start(upstream: SocketAddr, judge: impl Fn(Passing) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of loopback");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let seen_over = Arc::clone(&over);
        let judge = Arc::new(judge);
        let count = AtomicUsize::new(0);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if seen_over.load(Ordering::SeqCst) {
                    return;
                }
                // An upstream that refuses: the client sees its connection closed.
                let Ok(server) = TcpStream::connect(upstream) else {
                    continue;
                };
                let connection = count.fetch_add(1, Ordering::SeqCst);
                for from in [From::Client, From::Server] {
                    let ends = (client.try_clone(), server.try_clone());
                    let (Ok(client), Ok(server)) = ends else { continue };
                    let judge = Arc::clone(&judge);
                    let passing = Passing { connection, from };
                    thread::spawn(move || match from {
                        From::Client => pass(client, server, || judge(passing)),
                        From::Server => pass(server, client, || judge(passing)),
                    });
                }
            }
        });
        Self { address, over }
    }

    /// `https://127.0.0.1:PORT`
    pub fn https(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn pass(mut source: TcpStream, mut sink: TcpStream, judge: impl Fn() -> Then) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = source.read(&mut buffer) {
        if judge() == Then::Pass && sink.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = source.shutdown(Shutdown::Both);
    let _ = sink.shutdown(Shutdown::Both);
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The listener waits in accept: one connection more lets it see that it is over.
        let _ = TcpStream::connect(self.address);
    }
}
