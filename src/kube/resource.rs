//! A kind of object and where it is: its path, and the permission that reading it needs.

use crate::model::Grant;

/// A kind of object in one version, and in one namespace or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    plural: &'a str,
    namespace: Option<&'a str>,
    /// `labelSelector=...` or `fieldSelector=...`, encoded.
    selector: Option<&'a str>,
    /// How many of them one page of a list holds.
    page: usize,
}

impl<'a> Resource<'a> {
    /// Of the core group.
    pub const fn core(kind: &'a str, plural: &'a str) -> Self {
        Self::new("", "v1", kind, plural)
    }

    /// Of this group and version.
    pub const fn new(group: &'a str, version: &'a str, kind: &'a str, plural: &'a str) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            namespace: None,
            selector: None,
            page: 500,
        }
    }

    /// In this namespace only.
    pub const fn within(self, namespace: &'a str) -> Self {
        Self {
            namespace: Some(namespace),
            ..self
        }
    }

    /// Only those that this query (`labelSelector=...`, encoded) selects.
    pub const fn selected(self, selector: &'a str) -> Self {
        Self {
            selector: Some(selector),
            ..self
        }
    }

    /// So many on one page of a list.
    pub const fn paged_by(self, page: usize) -> Self {
        Self { page, ..self }
    }

    pub(super) const fn group(&self) -> &'a str {
        self.group
    }

    pub(super) const fn version(&self) -> &'a str {
        self.version
    }

    pub(super) const fn plural(&self) -> &'a str {
        self.plural
    }

    pub(super) const fn kind(&self) -> &'a str {
        self.kind
    }

    /// The permission to do `verb` with all of them, or with the one of this name.
    pub fn grant(&self, verb: &str, name: Option<&str>) -> Grant {
        Grant::Rbac {
            verb: verb.to_owned(),
            group: self.group.to_owned(),
            resource: self.plural.to_owned(),
            namespace: self.namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }

    /// The call that lists them, as a person would write it: `list nodepools.karpenter.sh`.
    pub fn listed(&self) -> String {
        self.grant("list", None).action()
    }

    /// The call that gets the one of this name.
    pub fn named(&self, name: &str) -> String {
        self.grant("get", Some(name)).action()
    }

    pub(super) fn path(&self, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = self.namespace {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(&segment(name));
        }
        path
    }

    /// The path of a page of the list.
    pub(super) fn page_path(&self, token: Option<&str>) -> String {
        let mut path = format!("{}?limit={}", self.path(None), self.page);
        if let Some(selector) = self.selector {
            path.push('&');
            path.push_str(selector);
        }
        if let Some(token) = token {
            path.push_str("&continue=");
            path.extend(percent_encoding::utf8_percent_encode(
                token,
                percent_encoding::NON_ALPHANUMERIC,
            ));
        }
        path
    }
}

/// What may stand in a path as it is (RFC 3986, `pchar` without the sub-delimiters), which every good name of an object does.
const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');

/// A name as one segment of a path. `.` and `..` would be steps in it.
fn segment(name: &str) -> String {
    match name {
        "." | ".." => name.replace('.', "%2E"),
        name => percent_encoding::utf8_percent_encode(name, PLAIN).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_only_where_they_must_be() {
        let pods = Resource::core("Pod", "pods");
        for (namespace, name, path) in [
            (
                "kube-system",
                "aws-auth",
                "/api/v1/namespaces/kube-system/pods/aws-auth",
            ),
            (
                "a.b",
                "system:node:x",
                "/api/v1/namespaces/a.b/pods/system:node:x",
            ),
            ("a/b", "?c#d%20", "/api/v1/namespaces/a%2Fb/pods/%3Fc%23d%2520"),
            ("..", ".", "/api/v1/namespaces/%2E%2E/pods/%2E"),
        ] {
            assert_eq!(pods.within(namespace).path(Some(name)), path);
        }
        let pools = Resource::new("karpenter.sh", "v1", "NodePool", "nodepools");
        assert_eq!(pools.path(None), "/apis/karpenter.sh/v1/nodepools");
        assert_eq!(pools.listed(), "list nodepools.karpenter.sh");
        assert_eq!(pods.within("x").named("y"), "get pods/y in x");
    }
}
