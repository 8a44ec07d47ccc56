//! The page of the releases on loopback: over HTTP as a mirror, and as a proxy that plays the hosts of the real page over TLS, so
//! that the very lines of the documentation can be run.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Where the releases are, on the page and at the mirror.
pub const PROJECT: &str = "github.com/appthrust/kubectl-capt-spot";
/// The page sends downloads on to it.
const ASSETS: &str = "release-assets.githubusercontent.com";

/// How it answers for archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As they are.
    Whole,
    /// With others, as large.
    Another,
    /// Not at all (404).
    Missing,
    /// With the first half, and an end.
    Half,
}

struct Page {
    root: PathBuf,
    tls: Arc<ServerConfig>,
    said: Mutex<Said>,
}

struct Said {
    answer: Answer,
    newest: String,
    asked: Vec<String>,
}

/// The server. It ends with the test process.
pub struct ReleasePage {
    page: Arc<Page>,
    address: SocketAddr,
    ca: tempfile::NamedTempFile,
}

impl ReleasePage {
    /// Serves the files below `root`; the first part of a path is the host.
    pub fn start(root: &Path) -> Self {
        let (ca_pem, tls) = capt_spot_standin::server_config(&["github.com", ASSETS]).expect("a certificate");
        let mut ca = tempfile::NamedTempFile::new().expect("a file");
        ca.write_all(ca_pem.as_bytes()).expect("written");
        let page = Arc::new(Page {
            root: root.to_owned(),
            tls,
            said: Mutex::new(Said {
                answer: Answer::Whole,
                newest: env!("CARGO_PKG_VERSION").to_owned(),
                asked: Vec::new(),
            }),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::clone(&page);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let page = Arc::clone(&shared);
                // A client that gives up breaks its own connection only.
                std::thread::spawn(move || page.connection(connection));
            }
        });
        Self { page, address, ca }
    }

    /// For CAPT_SPOT_MIRROR.
    pub fn mirror(&self) -> String {
        format!("http://{}/{PROJECT}/releases/download", self.address)
    }

    /// What makes curl, Git, Go's and our programs find the page under its own name.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let ca = self.ca.path().display().to_string();
        vec![
            ("HTTPS_PROXY", format!("http://{}", self.address)),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
            ("CURL_CA_BUNDLE", ca.clone()),
            ("GIT_SSL_CAINFO", ca.clone()),
            ("SSL_CERT_FILE", ca),
        ]
    }

    /// How it answers for archives from now on.
    pub fn answer(&self, answer: Answer) {
        self.said(|said| said.answer = answer);
    }

    /// Which release it calls the newest from now on.
    pub fn newest(&self, version: &str) {
        self.said(|said| said.newest = version.to_owned());
    }

    /// What was asked for since the last time: `GET github.com/...`.
    pub fn asked(&self) -> Vec<String> {
        self.said(|said| std::mem::take(&mut said.asked))
    }

    fn said<R>(&self, work: impl FnOnce(&mut Said) -> R) -> R {
        work(&mut self.page.said.lock().expect("the lock"))
    }
}

impl Page {
    fn connection(&self, mut plain: TcpStream) -> io::Result<()> {
        let (method, path) = head(&mut plain)?;
        if method != "CONNECT" {
            return self.request(&mut plain, &method, path.trim_start_matches('/'));
        }
        plain.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let host = path.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        let tls = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, plain);
        let (method, path) = head(&mut stream)?;
        if let Some(location) = self.sends_on(&host, &path) {
            self.asked(&method, &format!("{host}{path}"));
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )?;
        } else {
            let host = if host == ASSETS { "github.com" } else { &host };
            self.request(&mut stream, &method, &format!("{host}{path}"))?;
        }
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn sends_on(&self, host: &str, path: &str) -> Option<String> {
        if host != "github.com" {
            return None;
        }
        if path.ends_with("/releases/latest") {
            let newest = self.said.lock().expect("the lock").newest.clone();
            return Some(format!("https://{PROJECT}/releases/tag/v{newest}"));
        }
        path.contains("/releases/download/")
            .then(|| format!("https://{ASSETS}{path}"))
    }

    fn asked(&self, method: &str, what: &str) {
        let mut said = self.said.lock().expect("the lock");
        said.asked.push(format!("{method} {what}"));
    }

    fn request(&self, stream: &mut impl Write, method: &str, path: &str) -> io::Result<()> {
        self.asked(method, path);
        let path = path.split('?').next().unwrap_or_default();
        assert!(!path.contains(".."), "{path}");
        let file = self.root.join(path);
        let answer = match path.ends_with(".tar.gz") {
            true => self.said.lock().expect("the lock").answer,
            false => Answer::Whole,
        };
        let (status, kind, mut body) = match std::fs::read(&file) {
            // What releases are served as, whatever they are.
            Ok(body) if answer != Answer::Missing => ("200 OK", "application/octet-stream", body),
            _ if file.is_dir() => ("200 OK", "text/html", b"<html>".to_vec()),
            _ => ("404 Not Found", "text/html", b"<html>".to_vec()),
        };
        if answer == Answer::Another {
            body.reverse();
        }
        let promised = body.len();
        if answer == Answer::Half {
            body.truncate(promised / 2);
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n"
        )?;
        if method != "HEAD" {
            stream.write_all(&body)?;
        }
        stream.flush()
    }
}

/// The method and the path of a request; its headers are read and left.
fn head(stream: &mut impl Read) -> io::Result<(String, String)> {
    // Not a byte more than the head: what follows a CONNECT is TLS.
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if text.len() > 16 * 1024 || stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend(byte);
    }
    let mut line = String::new();
    BufReader::new(text.as_slice()).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(method), Some(path)) => Ok((method.to_owned(), path.to_owned())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
