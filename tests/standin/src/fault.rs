//! What goes wrong on the way: throttling, broken servers, proxies, cut connections, silence.

use std::time::Duration;

/// What happens instead of (or around) the right answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The service says that it is asked too often, in its own words (IAM and STS: 400 Throttling; EKS: 429
    /// TooManyRequestsException; Kubernetes: 429 with Retry-After).
    Throttled,
    /// The service says 500 or 503 in its own words.
    Broken(u16),
    /// This status, content type and body, whatever the service.
    Reply {
        /// The status code.
        status: u16,
        /// The Content-Type.
        content_type: String,
        /// The body.
        body: String,
    },
    /// The right head, half of the body, then the connection closes.
    Truncated,
    /// The connection is reset (RST) before an answer.
    Reset,
    /// No answer, until the client gives up or the stand-in stops.
    Hang,
    /// The right answer, a few bytes at a time.
    Slow {
        /// How many bytes at once.
        chunk: usize,
        /// How long between them.
        pause: Duration,
    },
    /// The right head and a body without end.
    Endless,
    /// The right answer, saying that there is another page, always with the same token.
    MorePages,
    /// The right answer with this header.
    Header(&'static str, String),
    /// The right answer, this much later.
    Delay(Duration),
}

impl Fault {
    /// A proxy's page instead of XML or JSON, with this status.
    pub fn proxy_page(status: u16) -> Self {
        Self::Reply {
            status,
            content_type: "text/html; charset=utf-8".to_owned(),
            body: "<!DOCTYPE html>\n<html><head><title>Access to this site is blocked</title></head>\
                   <body><h1>Proxy authentication required</h1></body></html>\n"
                .to_owned(),
        }
    }

    /// A JSON body with this status.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Reply {
            status,
            content_type: "application/json".to_owned(),
            body: body.to_string(),
        }
    }
}

/// A fault, and the calls it strikes.
#[derive(Clone, Debug)]
struct Rule {
    pattern: String,
    fault: Fault,
    /// How many calls pass before it strikes.
    skip: usize,
    /// How many calls it still strikes; none: all.
    left: Option<usize>,
}

/// The faults in force: the first that matches strikes.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    pub(crate) delay: Duration,
}

impl Faults {
    pub(crate) fn add(&mut self, pattern: &str, fault: Fault, skip: usize, times: Option<usize>) {
        self.rules.push(Rule {
            pattern: pattern.to_owned(),
            fault,
            skip,
            left: times,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault that strikes this call, used up by it. `texts` are the call's names, short and long.
    pub(crate) fn strike(&mut self, texts: &[&str]) -> Option<Fault> {
        for rule in &mut self.rules {
            if rule.left == Some(0) || !texts.iter().any(|text| crate::glob(&rule.pattern, text)) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if let Some(left) = &mut rule.left {
                *left -= 1;
            }
            return Some(rule.fault.clone());
        }
        None
    }
}
