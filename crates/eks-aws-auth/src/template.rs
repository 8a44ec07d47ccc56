//! The placeholders of usernames and groups (`pkg/server/server.go`, `renderTemplate`): exact text, replaced one after
//! the other.

use crate::principal::Caller;

const EC2_PRIVATE_DNS_NAME: &str = "{{EC2PrivateDNSName}}";

/// A rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// Placeholders that stayed because the fact they stand for is not known here.
    pub(crate) open: Vec<&'static str>,
}

/// Renders a template for a caller.
///
/// # Errors
/// Why the caller is denied: the template asks for an instance, and the session is not one's.
pub(crate) fn render(template: &str, caller: &Caller) -> Result<Rendered, String> {
    let mut text = template.to_owned();
    let mut open = Vec::new();
    if text.contains(EC2_PRIVATE_DNS_NAME)
        && let Some(session) = &caller.session
        && !is_instance_id(session)
    {
        return Err(format!(
            "{EC2_PRIVATE_DNS_NAME} needs a session named after an instance (i- and 8 or 17 letters or digits): \
             SessionName {session:?} is not an instance id"
        ));
    }
    let session = caller.session.as_ref();
    let plain_session = session.map(|session| session.replace('@', "-"));
    for (placeholder, value) in [
        (EC2_PRIVATE_DNS_NAME, caller.private_dns_name.as_ref()),
        ("{{AccountID}}", Some(&caller.account)),
        ("{{SessionName}}", plain_session.as_ref()),
        ("{{SessionNameRaw}}", session),
        ("{{AccessKeyID}}", caller.access_key_id.as_ref()),
    ] {
        if !text.contains(placeholder) {
            continue;
        }
        match value {
            Some(value) => text = text.replace(placeholder, value),
            None => open.push(placeholder),
        }
    }
    Ok(Rendered { text, open })
}

/// `^i-(\w{8}|\w{17})$`
pub(crate) fn is_instance_id(session: &str) -> bool {
    session.strip_prefix("i-").is_some_and(|id| {
        matches!(id.len(), 8 | 17) && id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_exact_text() {
        let caller = Caller::parse("arn:aws:sts::111122223333:assumed-role/Dev/jo@x")
            .unwrap()
            .with_access_key_id(Some("321".to_owned()));
        for (template, expected) in [
            ("a", "a"),
            (
                "{{SessionName}}/{{SessionNameRaw}}/{{AccountID}}/{{AccessKeyID}}",
                "jo-x/jo@x/111122223333/321",
            ),
            (
                "{{ SessionName }}{{sessionname}}{{Other}}",
                "{{ SessionName }}{{sessionname}}{{Other}}",
            ),
        ] {
            assert_eq!(render(template, &caller).unwrap().text, expected);
        }
        assert!(render("{{EC2PrivateDNSName}}", &caller).is_err());
    }

    #[test]
    fn what_is_not_known_stays() {
        let caller = Caller::parse("arn:aws:iam::111122223333:role/Dev").unwrap();
        let rendered = render("{{EC2PrivateDNSName}}-{{SessionName}}", &caller).unwrap();
        assert_eq!(rendered.text, "{{EC2PrivateDNSName}}-{{SessionName}}");
        assert_eq!(rendered.open, ["{{EC2PrivateDNSName}}", "{{SessionName}}"]);
    }

    #[test]
    fn instance_ids() {
        for (session, is) in [
            ("i-1a2b3c4d", true),
            ("i-0123456789abcdef0", true),
            ("i-_______Z", true),
            ("i-aaaaa", false),
            ("i-1a2b3c4d\n", false),
            ("I-1a2b3c4d", false),
            ("x i-1a2b3c4d", false),
            ("i-1a2b3c4é", false),
        ] {
            assert_eq!(is_instance_id(session), is, "{session:?}");
        }
    }
}
