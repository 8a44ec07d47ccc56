//! IAM: roles, instance profiles, OpenID Connect providers, the service-linked role and the policy simulator.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Aws, Caller, Operation, element, page, query_error, query_result, unknown_operation};
use crate::http::{Answer, Reply};
use crate::world::{
    Account, Decision, InstanceProfile, OidcProvider, Role, SPOT_ROLE, Simulated, TakenError, World,
    service_trust, unique_id,
};

/// RFC 3986's unreserved characters stay.
const RFC3986: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(super) fn answer(world: &mut World, caller: &Caller, operation: &Operation) -> Answer {
    let page_size = world.page_size;
    let account = &mut world.accounts[caller.account];
    match operation.name.as_str() {
        "GetRole" => get_role(account, caller, operation),
        "ListAttachedRolePolicies" => list_attached_role_policies(account, caller, operation, page_size),
        "ListRolePolicies" => list_role_policies(account, caller, operation, page_size),
        "GetInstanceProfile" => get_instance_profile(account, caller, operation),
        "ListOpenIDConnectProviders" => list_oidc_providers(account, caller),
        "GetOpenIDConnectProvider" => get_oidc_provider(account, caller, operation),
        "CreateServiceLinkedRole" => create_service_linked_role(account, caller, operation),
        "SimulatePrincipalPolicy" => simulate_principal_policy(account, caller, operation, page_size),
        other => Err(unknown_operation(Aws::Iam, other)),
    }
}

/// IAM names roles and instance profiles in denials by kind and name, not by ARN.
fn guard(caller: &Caller, action: &str, resource: &str) -> Result<(), Reply> {
    caller.may(Aws::Iam, action, resource)
}

fn get_role(account: &mut Account, caller: &Caller, operation: &Operation) -> Answer {
    let name = required(operation, "RoleName")?;
    guard(caller, "iam:GetRole", &format!("role {name}"))?;
    if let Some(role) = account
        .roles
        .iter_mut()
        .find(|role| role.name.eq_ignore_ascii_case(name))
        && role.hidden_reads > 0
    {
        role.hidden_reads -= 1;
        return Err(no_role(name));
    }
    let role = account.role(name).ok_or_else(|| no_role(name))?;
    Ok(query_result(
        Aws::Iam,
        "GetRole",
        &format!("<Role>{}</Role>", role_xml(account, role, true)),
    ))
}

fn list_attached_role_policies(
    account: &Account,
    caller: &Caller,
    operation: &Operation,
    page_size: usize,
) -> Answer {
    let role = visible_role(account, caller, operation, "iam:ListAttachedRolePolicies")?;
    let members = |policies: &[String]| {
        let member = |arn: &String| {
            let name = arn.rsplit('/').next().unwrap_or(arn);
            format!(
                "<member>{}{}</member>",
                element("PolicyName", name),
                element("PolicyArn", arn)
            )
        };
        format!(
            "<AttachedPolicies>{}</AttachedPolicies>",
            policies.iter().map(member).collect::<String>()
        )
    };
    let result = paged(operation, &role.attached_policies, page_size, members)?;
    Ok(query_result(Aws::Iam, "ListAttachedRolePolicies", &result))
}

fn list_role_policies(account: &Account, caller: &Caller, operation: &Operation, page_size: usize) -> Answer {
    let role = visible_role(account, caller, operation, "iam:ListRolePolicies")?;
    let members = |names: &[String]| {
        format!(
            "<PolicyNames>{}</PolicyNames>",
            names
                .iter()
                .map(|name| element("member", name))
                .collect::<String>()
        )
    };
    let result = paged(operation, &role.inline_policies, page_size, members)?;
    Ok(query_result(Aws::Iam, "ListRolePolicies", &result))
}

fn get_instance_profile(account: &Account, caller: &Caller, operation: &Operation) -> Answer {
    let name = required(operation, "InstanceProfileName")?;
    guard(
        caller,
        "iam:GetInstanceProfile",
        &format!("instance profile {name}"),
    )?;
    let found = account
        .instance_profiles
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    let Some((
        name,
        InstanceProfile {
            path,
            role,
            create_date,
        },
    )) = found
    else {
        return Err(no_such_entity(&format!(
            "Instance Profile {name} cannot be found."
        )));
    };
    let role = role.as_deref().and_then(|role| account.role(role));
    let roles = role.map_or_else(String::new, |role| {
        format!("<member>{}</member>", role_xml(account, role, false))
    });
    let fields = [
        element("Path", path),
        element("InstanceProfileName", name),
        element("InstanceProfileId", &unique_id("AIPA", name)),
        element("Arn", &account.iam_arn(&format!("instance-profile{path}{name}"))),
        element("CreateDate", &stamp(*create_date)),
        format!("<Roles>{roles}</Roles>"),
    ];
    let result = format!("<InstanceProfile>{}</InstanceProfile>", fields.concat());
    Ok(query_result(Aws::Iam, "GetInstanceProfile", &result))
}

fn list_oidc_providers(account: &Account, caller: &Caller) -> Answer {
    guard(
        caller,
        "iam:ListOpenIDConnectProviders",
        &account.iam_arn("oidc-provider/*"),
    )?;
    let members: String = account
        .oidc_providers
        .iter()
        .map(|provider| {
            format!(
                "<member>{}</member>",
                element("Arn", &oidc_arn(account, provider))
            )
        })
        .collect();
    let result = format!("<OpenIDConnectProviderList>{members}</OpenIDConnectProviderList>");
    Ok(query_result(Aws::Iam, "ListOpenIDConnectProviders", &result))
}

fn get_oidc_provider(account: &Account, caller: &Caller, operation: &Operation) -> Answer {
    let arn = required(operation, "OpenIDConnectProviderArn")?;
    guard(caller, "iam:GetOpenIDConnectProvider", arn)?;
    let found = account
        .oidc_providers
        .iter()
        .find(|provider| oidc_arn(account, provider) == arn);
    let provider =
        found.ok_or_else(|| no_such_entity(&format!("OpenIDConnect Provider not found for arn {arn}")))?;
    let members = |texts: &[String]| {
        texts
            .iter()
            .map(|text| element("member", text))
            .collect::<String>()
    };
    let fields = [
        element("Url", &provider.url),
        format!("<ClientIDList>{}</ClientIDList>", members(&provider.client_ids)),
        format!(
            "<ThumbprintList>{}</ThumbprintList>",
            members(&provider.thumbprints)
        ),
        element("CreateDate", &stamp(provider.create_date)),
    ];
    Ok(query_result(
        Aws::Iam,
        "GetOpenIDConnectProvider",
        &fields.concat(),
    ))
}

/// The service-linked roles that can be made: service, role, policy.
const SERVICE_LINKED: &[(&str, &str, &str)] = &[
    ("spot.amazonaws.com", SPOT_ROLE, "AWSEC2SpotServiceRolePolicy"),
    (
        "spotfleet.amazonaws.com",
        "AWSServiceRoleForEC2SpotFleet",
        "AWSEC2SpotFleetServiceRolePolicy",
    ),
    (
        "autoscaling.amazonaws.com",
        "AWSServiceRoleForAutoScaling",
        "AutoScalingServiceRolePolicy",
    ),
    (
        "eks.amazonaws.com",
        "AWSServiceRoleForAmazonEKS",
        "AmazonEKSServiceRolePolicy",
    ),
];

fn create_service_linked_role(account: &mut Account, caller: &Caller, operation: &Operation) -> Answer {
    let service = required(operation, "AWSServiceName")?;
    let Some((_, name, policy)) = SERVICE_LINKED.iter().find(|(known, _, _)| *known == service) else {
        let arn = account.iam_arn(&format!("role/aws-service-role/{service}/*"));
        guard(caller, "iam:CreateServiceLinkedRole", &arn)?;
        return Err(invalid_input(&format!(
            "Service principal {service} is not valid."
        )));
    };
    let path = format!("/aws-service-role/{service}/");
    guard(
        caller,
        "iam:CreateServiceLinkedRole",
        &account.iam_arn(&format!("role{path}{name}")),
    )?;
    if operation.parameter("CustomSuffix").is_some() {
        return Err(invalid_input(&format!(
            "Custom suffix is not allowed for {service}"
        )));
    }
    if account.role(name).is_some() {
        let text = format!(
            "Service role name {name} has been taken in this account, please try a different suffix."
        );
        return Err(match account.taken {
            TakenError::InvalidInput => invalid_input(&text),
            TakenError::EntityAlreadyExists => query_error(Aws::Iam, 409, "EntityAlreadyExists", &text),
        });
    }
    let role = if *name == SPOT_ROLE {
        Role::ec2_spot()
    } else {
        Role {
            attached_policies: vec![format!("arn:aws:iam::aws:policy/aws-service-role/{policy}")],
            ..Role::new(name, service_trust(service)).with_path(&path)
        }
    };
    // IAM dates to the second.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(role.create_date);
    let role = Role {
        create_date: now,
        description: operation
            .parameter("Description")
            .map(str::to_owned)
            .or(role.description.clone()),
        hidden_reads: account.reads_until_visible,
        ..role
    };
    let result = format!("<Role>{}</Role>", role_xml(account, &role, false));
    account.roles.push(role);
    Ok(query_result(Aws::Iam, "CreateServiceLinkedRole", &result))
}

fn simulate_principal_policy(
    account: &Account,
    caller: &Caller,
    operation: &Operation,
    page_size: usize,
) -> Answer {
    let source = required(operation, "PolicySourceArn")?;
    guard(caller, "iam:SimulatePrincipalPolicy", source)?;
    principal_exists(account, source)?;
    let actions = operation.members("ActionNames");
    if actions.is_empty() {
        return Err(validation("actionNames"));
    }
    let mut resources = operation.members("ResourceArns");
    if resources.is_empty() {
        resources.push("*");
    }
    let mut results = Vec::new();
    for action in actions {
        for resource in &resources {
            let simulated = account.simulation.iter().find(|entry| {
                crate::glob(&entry.source, source)
                    && crate::glob(&entry.action, action)
                    && crate::glob(&entry.resource, resource)
            });
            let default = Simulated::new(action, account.simulation_default);
            results.push(evaluation(action, resource, simulated.unwrap_or(&default)));
        }
    }
    let members = |some: &[String]| format!("<EvaluationResults>{}</EvaluationResults>", some.concat());
    let result = paged(operation, &results, page_size, members)?;
    Ok(query_result(Aws::Iam, "SimulatePrincipalPolicy", &result))
}

/// The simulator knows users, groups and roles of this account, and no sessions.
fn principal_exists(account: &Account, source: &str) -> Result<(), Reply> {
    let resource = source.splitn(6, ':').nth(5).unwrap_or_default();
    let kind_and_name = resource.split_once('/');
    match kind_and_name {
        Some(("role", path)) if source.contains(":iam::") => {
            let name = path.rsplit('/').next().unwrap_or(path);
            account.role(name).map(|_| ()).ok_or_else(|| no_role(name))
        }
        Some(("user", path)) if source.contains(":iam::") => {
            let name = path.rsplit('/').next().unwrap_or(path);
            let known = account
                .access_keys
                .values()
                .any(|identity| identity.arn == source);
            if known {
                Ok(())
            } else {
                Err(no_such_entity(&format!(
                    "The user with name {name} cannot be found."
                )))
            }
        }
        _ => Err(invalid_input(&format!(
            "Invalid Entity Arn: {source} does not clearly define entity type and name."
        ))),
    }
}

fn evaluation(action: &str, resource: &str, simulated: &Simulated) -> String {
    let flag = |name: &str, inner: &str, value: Option<bool>| {
        value.map_or_else(String::new, |value| {
            format!("<{name}>{}</{name}>", element(inner, &value.to_string()))
        })
    };
    let matched: String = simulated
        .matched
        .iter()
        .map(|policy| {
            format!(
                "<member>{}<SourcePolicyType>IAM Policy</SourcePolicyType><StartPosition><Line>1</Line>\
                 <Column>1</Column></StartPosition><EndPosition><Line>1</Line><Column>2</Column></EndPosition></member>",
                element("SourcePolicyId", policy)
            )
        })
        .collect();
    let missing: String = simulated
        .missing_context
        .iter()
        .map(|key| element("member", key))
        .collect();
    // A denial by an organization is an explicit deny to the simulator's reader, whatever the account's policies say.
    let decision =
        if simulated.allowed_by_organizations == Some(false) && simulated.decision == Decision::Allowed {
            Decision::ImplicitDeny
        } else {
            simulated.decision
        };
    let fields = [
        element("EvalActionName", action),
        element("EvalResourceName", resource),
        element("EvalDecision", decision.as_str()),
        format!("<MatchedStatements>{matched}</MatchedStatements>"),
        format!("<MissingContextValues>{missing}</MissingContextValues>"),
        flag(
            "OrganizationsDecisionDetail",
            "AllowedByOrganizations",
            simulated.allowed_by_organizations,
        ),
        flag(
            "PermissionsBoundaryDecisionDetail",
            "AllowedByPermissionsBoundary",
            simulated.allowed_by_boundary,
        ),
    ];
    format!("<member>{}</member>", fields.concat())
}

fn visible_role<'a>(
    account: &'a Account,
    caller: &Caller,
    operation: &Operation,
    action: &str,
) -> Result<&'a Role, Reply> {
    let name = required(operation, "RoleName")?;
    guard(caller, action, &format!("role {name}"))?;
    account
        .role(name)
        .filter(|role| role.hidden_reads == 0)
        .ok_or_else(|| no_role(name))
}

/// `Marker`, `MaxItems` and `IsTruncated`.
fn paged<T>(
    operation: &Operation,
    all: &[T],
    page_size: usize,
    members: impl Fn(&[T]) -> String,
) -> Result<String, Reply> {
    let wanted = operation
        .parameter("MaxItems")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_usize);
    let (some, next) = page(all, operation.parameter("Marker"), wanted.min(page_size))
        .ok_or_else(|| query_error(Aws::Iam, 400, "ValidationError", "Invalid Marker."))?;
    let marker = next
        .as_deref()
        .map_or_else(String::new, |marker| element("Marker", marker));
    Ok(format!(
        "{}{}{marker}",
        members(some),
        element("IsTruncated", &next.is_some().to_string())
    ))
}

/// Lists and profiles show a role without description of its last use, tags and boundary (`full`: GetRole).
fn role_xml(account: &Account, role: &Role, full: bool) -> String {
    let trust = role
        .trust_as_sent
        .clone()
        .unwrap_or_else(|| utf8_percent_encode(&role.trust.to_string(), RFC3986).to_string());
    let mut fields = vec![
        element("Path", &role.path),
        element("RoleName", &role.name),
        element("RoleId", &role.role_id),
        element("Arn", &account.role_arn(role)),
        element("CreateDate", &stamp(role.create_date)),
        element("AssumeRolePolicyDocument", &trust),
    ];
    if full {
        fields.extend(
            role.description
                .as_deref()
                .map(|text| element("Description", text)),
        );
        fields.push(element(
            "MaxSessionDuration",
            &role.max_session_duration.to_string(),
        ));
        fields.extend(role.permissions_boundary.as_deref().map(|arn| {
            format!(
                "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType>{}</PermissionsBoundary>",
                element("PermissionsBoundaryArn", arn)
            )
        }));
        if !role.tags.is_empty() {
            let tag = |(key, value): &(String, String)| {
                format!(
                    "<member>{}{}</member>",
                    element("Key", key),
                    element("Value", value)
                )
            };
            fields.push(format!(
                "<Tags>{}</Tags>",
                role.tags.iter().map(tag).collect::<String>()
            ));
        }
        fields.push("<RoleLastUsed/>".to_owned());
    }
    fields.concat()
}

fn oidc_arn(account: &Account, provider: &OidcProvider) -> String {
    account.iam_arn(&format!("oidc-provider/{}", provider.url))
}

fn stamp(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn required<'a>(operation: &'a Operation, name: &str) -> Result<&'a str, Reply> {
    operation
        .parameter(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| validation(&format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..])))
}

fn validation(field: &str) -> Reply {
    let text = format!(
        "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
    );
    query_error(Aws::Iam, 400, "ValidationError", &text)
}

fn no_role(name: &str) -> Reply {
    no_such_entity(&format!("The role with name {name} cannot be found."))
}

fn no_such_entity(message: &str) -> Reply {
    query_error(Aws::Iam, 404, "NoSuchEntity", message)
}

fn invalid_input(message: &str) -> Reply {
    query_error(Aws::Iam, 400, "InvalidInput", message)
}
