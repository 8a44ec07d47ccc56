//! STS: who am I, and sessions of roles.

use jiff::{SignedDuration, Timestamp};

use super::{Aws, Caller, Operation, element, query_error, query_result, unknown_operation};
use crate::http::{Answer, Reply};
use crate::world::{Identity, SECRET_ACCESS_KEY, World};

pub(super) fn answer(world: &mut World, caller: &Caller, operation: &Operation) -> Answer {
    match operation.name.as_str() {
        "GetCallerIdentity" => get_caller_identity(world, caller),
        "AssumeRole" => assume_role(world, caller, operation),
        other => Err(unknown_operation(Aws::Sts, other)),
    }
}

fn get_caller_identity(world: &World, caller: &Caller) -> Answer {
    // Needs no permission: an explicit deny doesn't stop it either (STS API reference).
    let identity = &caller.identity;
    let result = [
        element("Arn", &identity.arn),
        element("UserId", &identity.user_id),
        element("Account", &world.accounts[caller.account].id),
    ];
    Ok(query_result(Aws::Sts, "GetCallerIdentity", &result.concat()))
}

fn assume_role(world: &mut World, caller: &Caller, operation: &Operation) -> Answer {
    let arn = required(operation, "RoleArn")?;
    let session = required(operation, "RoleSessionName")?;
    caller.may(Aws::Sts, "sts:AssumeRole", arn)?;
    let seconds = operation
        .parameter("DurationSeconds")
        .and_then(|text| text.parse().ok())
        .unwrap_or(3600_u32);
    let found = world.accounts.iter().enumerate().find_map(|(index, account)| {
        account
            .roles
            .iter()
            .find(|role| account.role_arn(role) == arn)
            .map(|role| (index, role))
    });
    // STS doesn't say whether a role exists.
    let Some((index, role)) = found else {
        let text = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            caller.identity.arn
        );
        return Err(query_error(Aws::Sts, 403, "AccessDenied", &text));
    };
    if seconds > role.max_session_duration {
        return Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let (name, role_id, denied) = (
        role.name.clone(),
        role.role_id.clone(),
        role.session_denied.clone(),
    );
    world.sessions += 1;
    let key = format!("ASIASTANDIN{:09}", world.sessions);
    let account = &mut world.accounts[index];
    let session_arn = format!(
        "arn:{}:sts::{}:assumed-role/{name}/{session}",
        account.partition, account.id
    );
    let user_id = format!("{role_id}:{session}");
    let identity = Identity {
        denied,
        ..Identity::new(&session_arn, &user_id)
    };
    account.access_keys.insert(key.clone(), identity);
    let until = Timestamp::now() + SignedDuration::from_secs(i64::from(seconds));
    let credentials = [
        element("AccessKeyId", &key),
        element("SecretAccessKey", SECRET_ACCESS_KEY),
        element("SessionToken", &format!("IQoJb3JpZ2luX2VjSTANDIN{key}")),
        element("Expiration", &until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    ];
    let user = [element("AssumedRoleId", &user_id), element("Arn", &session_arn)];
    let result = format!(
        "<AssumedRoleUser>{}</AssumedRoleUser><Credentials>{}</Credentials>",
        user.concat(),
        credentials.concat()
    );
    Ok(query_result(Aws::Sts, "AssumeRole", &result))
}

fn required<'a>(operation: &'a Operation, name: &str) -> Result<&'a str, Reply> {
    operation.parameter(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let field = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        invalid(&format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn invalid(message: &str) -> Reply {
    query_error(Aws::Sts, 400, "ValidationError", message)
}
