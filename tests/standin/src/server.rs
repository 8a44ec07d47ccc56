//! The listeners: HTTP/1.1 on loopback, one task a connection, faults, and the record.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use crate::aws::{self, Operation};
use crate::fault::{Fault, Faults};
use crate::http::{Reply, Request, parse_form};
use crate::kubernetes::{self, Bearer};
use crate::record::Call;
use crate::tls::Tls;
use crate::world::World;

/// Requests larger than this are refused: the real services' limits are lower.
const MAX_BODY: usize = 8 << 20;

/// What every connection works on.
pub(crate) struct Shared {
    world: Mutex<World>,
    faults: Mutex<Faults>,
    calls: Mutex<Vec<Call>>,
    changes: Mutex<Vec<Change>>,
    /// Goes on when the record is cleared, so that a late answer finds its call or none.
    numbers: AtomicUsize,
    started: Instant,
    /// The URL of the AWS services.
    pub(crate) aws: String,
    /// Cluster name and URL.
    pub(crate) kubernetes: Vec<(String, String)>,
    /// Made when a listener of the world speaks TLS.
    pub(crate) tls: Option<Tls>,
}

impl Shared {
    // A test that panics while it holds a lock must not make the next one hang or panic.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change_on(&self, pattern: &str, nth: usize, work: Work) {
        let change = Change {
            pattern: pattern.to_owned(),
            left: nth.max(1),
            work: Some(work),
        };
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
    }

    /// Makes the changes that wait for this call.
    fn apply_changes(&self, texts: &[&str]) {
        let mut due = Vec::new();
        {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            for change in changes.iter_mut() {
                if texts.iter().any(|text| crate::glob(&change.pattern, text)) {
                    change.left -= 1;
                    if change.left == 0 {
                        due.extend(change.work.take());
                    }
                }
            }
            changes.retain(|change| change.work.is_some());
        }
        for work in due {
            work(&mut self.world());
        }
    }

    /// The URL of this cluster's API, and its certificate authority where it speaks TLS.
    fn endpoint(&self, cluster: &str) -> Option<(String, Option<String>)> {
        let (_, url) = self.kubernetes.iter().find(|(name, _)| name == cluster)?;
        let ca = self.tls.as_ref().filter(|_| url.starts_with("https:"));
        Some((url.clone(), ca.map(|tls| tls.ca_pem.clone())))
    }
}

/// A change of the world that waits for a call.
struct Change {
    pattern: String,
    /// How many matching calls are still to come, this one included.
    left: usize,
    work: Option<Work>,
}

type Work = Box<dyn FnOnce(&mut World) + Send>;

/// What a listener speaks.
#[derive(Clone, Copy, Debug)]
enum Side {
    Aws,
    Kubernetes(usize),
}

/// The running servers.
pub(crate) struct Servers {
    pub(crate) shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Servers {
    pub(crate) fn start(world: World) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let with_tls = world.aws_tls || world.kubernetes.iter().any(|api| api.tls);
        let tls = if with_tls { Some(Tls::new()?) } else { None };
        let listener = listen()?;
        let aws = url(listener.local_addr()?, world.aws_tls);
        let mut listeners = vec![(Side::Aws, world.aws_tls, listener)];
        let mut kubernetes = Vec::new();
        for (index, api) in world.kubernetes.iter().enumerate() {
            let listener = listen()?;
            kubernetes.push((api.name.clone(), url(listener.local_addr()?, api.tls)));
            listeners.push((Side::Kubernetes(index), api.tls, listener));
        }
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            faults: Mutex::default(),
            calls: Mutex::default(),
            changes: Mutex::default(),
            numbers: AtomicUsize::new(0),
            started: Instant::now(),
            aws,
            kubernetes,
            tls,
        });
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("standin".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    for (side, with_tls, listener) in listeners {
                        let acceptor = for_thread
                            .tls
                            .as_ref()
                            .filter(|_| with_tls)
                            .map(|tls| tls.acceptor.clone());
                        // A listener that can't be registered shows as a refused connection.
                        if let Ok(listener) = TcpListener::from_std(listener) {
                            tokio::spawn(accept(side, acceptor, listener, Arc::clone(&for_thread)));
                        }
                    }
                    // Never sent: dropping the sender ends the wait.
                    let _ = stopped.await;
                });
                // Dropping the runtime drops every task, and with them listeners and connections.
            })?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen() -> io::Result<StdListener> {
    let listener = StdListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn url(address: SocketAddr, tls: bool) -> String {
    if tls {
        format!("https://{address}")
    } else {
        format!("http://{address}")
    }
}

async fn accept(side: Side, acceptor: Option<TlsAcceptor>, listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of file descriptors, or the peer is gone already: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        tokio::spawn(async move {
            let _ = connection(side, acceptor, stream, shared).await;
        });
    }
}

/// The connection was cut on purpose.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

async fn connection(
    side: Side,
    acceptor: Option<TlsAcceptor>,
    stream: tokio::net::TcpStream,
    shared: Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A second handle to the same socket: a reset must reach it past the HTTP server.
    let stream = stream.into_std()?;
    let raw = Arc::new(stream.try_clone()?);
    let stream = tokio::net::TcpStream::from_std(stream)?;
    match acceptor {
        None => serve(side, stream, shared, raw).await,
        Some(acceptor) => serve(side, acceptor.accept(stream).await?, shared, raw).await,
    }
}

async fn serve(
    side: Side,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    raw: Arc<StdStream>,
) -> io::Result<()> {
    let service = service_fn(move |request| {
        let (shared, raw) = (Arc::clone(&shared), Arc::clone(&raw));
        async move { handle(side, request, &shared, &raw).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    served.map_err(io::Error::other)
}

async fn handle(
    side: Side,
    request: hyper::Request<Incoming>,
    shared: &Shared,
    raw: &StdStream,
) -> Result<Response<Outgoing>, Cut> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|_| Cut)?
        .to_bytes();
    let request = Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: parse_form(head.uri.query().unwrap_or_default()),
        headers: head.headers,
        body,
    };
    let asked = Asked::of(side, &request);
    let short = asked.action();
    let long = asked.long();
    let of_account = asked.of_account(&shared.world());
    let (fault, delay) = {
        let mut faults = shared.faults();
        (faults.strike(&[&short, &long, &of_account]), faults.delay)
    };
    let number = {
        let mut calls = shared.calls();
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        calls.push(asked.call(
            number,
            &request,
            (short.clone(), long.clone()),
            fault.clone(),
            shared.started.elapsed(),
        ));
        number
    };
    let extra = if let Some(Fault::Delay(extra)) = fault {
        extra
    } else {
        Duration::ZERO
    };
    if !(delay + extra).is_zero() {
        tokio::time::sleep(delay + extra).await;
    }
    // Before an answer is lost: what waits for the call happens to a request that arrived.
    shared.apply_changes(&[&short, &long]);
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => {
            // Closing with a linger time of zero sends RST.
            let _ = SockRef::from(raw).set_linger(Some(Duration::ZERO));
            return Err(Cut);
        }
        _ => {}
    }
    let answered = match &fault {
        Some(Fault::Throttled) => Answered::by_nobody(asked.throttled()),
        Some(Fault::Broken(status)) => Answered::by_nobody(asked.broken(*status)),
        Some(Fault::Reply {
            status,
            content_type,
            body,
        }) => Answered::by_nobody(Reply::new(*status, content_type, body.clone())),
        _ => asked.answer(&request, shared),
    };
    let mut reply = answered.reply;
    match &fault {
        Some(Fault::MorePages) => reply.body = with_another_page(&reply.body),
        Some(Fault::Header(name, value)) => {
            reply
                .headers
                .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            reply.headers.push((name, value.clone()));
        }
        _ => {}
    }
    {
        let mut calls = shared.calls();
        // The record may have been cleared in between.
        if let Some(call) = calls
            .iter_mut()
            .rev()
            .find(|call| call.number == number && call.ended.is_none())
        {
            call.status = Some(reply.status);
            call.caller = answered.caller;
            call.access_key = answered.access_key.or(call.access_key.take());
            call.ended = Some(shared.started.elapsed());
        }
    }
    Ok(response(reply, fault.as_ref()))
}

/// The answer, saying that there is another page: the same token every time.
fn with_another_page(body: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(body);
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::from_str(&text) {
        match object
            .get_mut("metadata")
            .and_then(serde_json::Value::as_object_mut)
        {
            Some(metadata) => metadata.insert("continue".to_owned(), "again".into()),
            None => object.insert("nextToken".to_owned(), "again".into()),
        };
        return serde_json::Value::Object(object).to_string().into();
    }
    text.replace(
        "<IsTruncated>false</IsTruncated>",
        "<IsTruncated>true</IsTruncated><Marker>again</Marker>",
    )
    .into()
}

fn response(reply: Reply, fault: Option<&Fault>) -> Response<Outgoing> {
    let body = match fault {
        Some(Fault::Truncated) => {
            let half = reply.body.slice(..reply.body.len() / 2);
            Outgoing::Truncated {
                half: Some(half),
                whole: reply.body.len(),
                flushed: false,
            }
        }
        Some(Fault::Endless) => Outgoing::Endless,
        Some(Fault::Slow { chunk, pause }) => Outgoing::Slow {
            rest: reply.body,
            chunk: (*chunk).max(1),
            pause: *pause,
            wait: Box::pin(tokio::time::sleep(*pause)),
        },
        _ => Outgoing::Whole(Some(reply.body)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A body, at once, in drops, or cut in the middle.
enum Outgoing {
    Whole(Option<Bytes>),
    Endless,
    Slow {
        rest: Bytes,
        chunk: usize,
        pause: Duration,
        wait: Pin<Box<Sleep>>,
    },
    Truncated {
        half: Option<Bytes>,
        whole: usize,
        flushed: bool,
    },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(
                body.take()
                    .filter(|body| !body.is_empty())
                    .map(|body| Ok(Frame::data(body))),
            ),
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 64 * 1024]))))),
            Self::Slow { rest, .. } if rest.is_empty() => Poll::Ready(None),
            Self::Slow {
                rest,
                chunk,
                pause,
                wait,
            } => {
                if wait.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                wait.as_mut().reset(tokio::time::Instant::now() + *pause);
                let some = rest.split_to((*chunk).min(rest.len()));
                Poll::Ready(Some(Ok(Frame::data(some))))
            }
            Self::Truncated { half, flushed, .. } => {
                if let Some(half) = half.take().filter(|half| !half.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(half))));
                }
                if *flushed {
                    return Poll::Ready(Some(Err(Cut)));
                }
                // While the body has nothing, the server flushes what it got.
                *flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Slow { rest, .. } => rest.is_empty(),
            Self::Endless | Self::Truncated { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Self::Endless => return SizeHint::default(),
            Self::Whole(body) => body.as_ref().map_or(0, Bytes::len),
            Self::Slow { rest, .. } => rest.len(),
            Self::Truncated { whole, .. } => *whole,
        };
        SizeHint::with_exact(left as u64)
    }
}

/// A request that has been told apart.
enum Asked {
    Aws(Operation),
    Kubernetes(usize, kubernetes::Attributes),
}

impl Asked {
    fn of(side: Side, request: &Request) -> Self {
        match side {
            Side::Aws => Self::Aws(Operation::of(request)),
            Side::Kubernetes(index) => Self::Kubernetes(index, kubernetes::attributes(request)),
        }
    }

    fn action(&self) -> String {
        match self {
            Self::Aws(operation) => operation.action(),
            Self::Kubernetes(_, asked) => format!("kubernetes:{}", asked.summary()),
        }
    }

    /// The action with what it is about: `iam:GetRole demo-node`, `kubernetes:get configmaps kube-system/aws-auth`.
    /// `iam:GetRole of 111122223333`, by whoever signed it; `kubernetes:list pods of demo`.
    fn of_account(&self, world: &World) -> String {
        let operation = match self {
            Self::Aws(operation) => operation,
            Self::Kubernetes(index, _) => {
                return format!("{} of {}", self.action(), world.kubernetes[*index].name);
            }
        };
        let caller = operation
            .scope
            .as_ref()
            .and_then(|scope| world.caller(&scope.access_key));
        let account = caller.map_or("", |(index, _)| world.accounts[index].id.as_str());
        format!("{} of {account}", operation.action())
    }

    fn long(&self) -> String {
        match self {
            Self::Aws(operation) => {
                let about = [
                    "RoleName",
                    "InstanceProfileName",
                    "principalArn",
                    "name",
                    "RoleArn",
                    "QuotaCode",
                ];
                let region = operation.scope.as_ref().map(|scope| scope.region.as_str());
                let about = about
                    .iter()
                    .find_map(|name| operation.parameter(name))
                    // A list of a whole region is about that.
                    .or(region.filter(|_| operation.name == "ListClusters"))
                    .unwrap_or_default();
                format!("{} {about}", operation.action())
            }
            Self::Kubernetes(_, asked) if asked.namespace.is_empty() => {
                format!("kubernetes:{} {}", asked.summary(), asked.name)
            }
            Self::Kubernetes(_, asked) => {
                format!(
                    "kubernetes:{} {}/{}",
                    asked.summary(),
                    asked.namespace,
                    asked.name
                )
            }
        }
    }

    fn call(
        &self,
        number: usize,
        request: &Request,
        (action, long): (String, String),
        fault: Option<Fault>,
        started: Duration,
    ) -> Call {
        let (parameters, region, access_key, kubernetes) = match self {
            Self::Aws(operation) => {
                let scope = operation.scope.as_ref();
                (
                    operation.parameters.clone(),
                    scope.map_or_else(String::new, |scope| scope.region.clone()),
                    scope.map(|scope| scope.access_key.clone()),
                    None,
                )
            }
            Self::Kubernetes(_, asked) => (request.query.clone(), String::new(), None, Some(asked.clone())),
        };
        Call {
            number,
            action,
            long,
            parameters,
            region,
            kubernetes,
            method: request.method.clone(),
            path: request.path.clone(),
            access_key,
            caller: None,
            user_agent: request.header("user-agent").unwrap_or_default().to_owned(),
            fault,
            status: None,
            started,
            ended: None,
        }
    }

    fn throttled(&self) -> Reply {
        match self {
            Self::Aws(operation) => aws::throttled(operation.service),
            Self::Kubernetes(..) => kubernetes::throttled(),
        }
    }

    fn broken(&self, status: u16) -> Reply {
        match self {
            Self::Aws(operation) => aws::broken(operation.service, status),
            Self::Kubernetes(..) => kubernetes::broken(status),
        }
    }

    fn answer(&self, request: &Request, shared: &Shared) -> Answered {
        let mut world = shared.world();
        match self {
            Self::Aws(operation) => {
                let (identity, reply) = aws::answer(&mut world, operation, request, &|cluster| {
                    shared.endpoint(cluster)
                });
                Answered {
                    caller: identity.map(|identity| identity.arn),
                    access_key: None,
                    reply,
                }
            }
            Self::Kubernetes(index, asked) => {
                let World {
                    accounts,
                    kubernetes: apis,
                    ..
                } = &mut *world;
                let Some(api) = apis.get_mut(*index) else {
                    return Answered::by_nobody(kubernetes::broken(503));
                };
                let bearer_of = |token: &crate::EksToken| {
                    let known = accounts
                        .iter()
                        .find_map(|account| account.access_keys.get(&token.access_key))?;
                    let complete = token.has_session_token || !token.access_key.starts_with("ASIA");
                    (complete && !known.expired).then(|| Bearer {
                        arn: known.arn.clone(),
                        user_id: known.user_id.clone(),
                    })
                };
                let mut access_key = None;
                match kubernetes::authenticate(api, request, &bearer_of, &shared.aws, &mut access_key) {
                    Err(refusal) => Answered {
                        caller: None,
                        access_key,
                        reply: refusal,
                    },
                    Ok(user) => {
                        let reply = kubernetes::answer(api, request, asked, &user);
                        Answered {
                            caller: Some(user.name),
                            access_key,
                            reply,
                        }
                    }
                }
            }
        }
    }
}

/// The answer, and who asked.
struct Answered {
    caller: Option<String>,
    /// The signer of an EKS token.
    access_key: Option<String>,
    reply: Reply,
}

impl Answered {
    fn by_nobody(reply: Reply) -> Self {
        Self {
            caller: None,
            access_key: None,
            reply,
        }
    }
}
