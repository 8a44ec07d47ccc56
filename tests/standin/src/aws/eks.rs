//! EKS: clusters and what hangs off them.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Aws, Caller, EndpointOf, Operation, REQUEST_ID, json_error, json_error_with, page};
use crate::http::{Answer, Reply, get};
use crate::world::{
    AccessEntry, Account, AuthenticationMode, Cluster, Endpoint, FargateProfile, Nodegroup, PodIdentity,
    World, unique_id,
};

/// The operation of a method and path, with the parameters that the path holds.
pub(super) fn operation(method: &str, segments: &[String]) -> (String, Vec<(String, String)>) {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (name, keys): (&str, &[(&str, usize)]) = match (method, parts.as_slice()) {
        ("GET", ["clusters"]) => ("ListClusters", &[]),
        ("GET", ["clusters", _]) => ("DescribeCluster", &[("name", 1)]),
        ("GET", ["clusters", _, "access-entries"]) => ("ListAccessEntries", &[("clusterName", 1)]),
        ("GET", ["clusters", _, "access-entries", _]) => {
            ("DescribeAccessEntry", &[("clusterName", 1), ("principalArn", 3)])
        }
        ("GET", ["clusters", _, "access-entries", _, "access-policies"]) => (
            "ListAssociatedAccessPolicies",
            &[("clusterName", 1), ("principalArn", 3)],
        ),
        ("GET", ["clusters", _, "pod-identity-associations"]) => {
            ("ListPodIdentityAssociations", &[("clusterName", 1)])
        }
        ("GET", ["clusters", _, "pod-identity-associations", _]) => (
            "DescribePodIdentityAssociation",
            &[("clusterName", 1), ("associationId", 3)],
        ),
        ("GET", ["clusters", _, "fargate-profiles"]) => ("ListFargateProfiles", &[("clusterName", 1)]),
        ("GET", ["clusters", _, "fargate-profiles", _]) => (
            "DescribeFargateProfile",
            &[("clusterName", 1), ("fargateProfileName", 3)],
        ),
        ("GET", ["clusters", _, "node-groups"]) => ("ListNodegroups", &[("clusterName", 1)]),
        ("GET", ["clusters", _, "node-groups", _]) => {
            ("DescribeNodegroup", &[("clusterName", 1), ("nodegroupName", 3)])
        }
        ("GET", ["clusters", _, "addons"]) => ("ListAddons", &[("clusterName", 1)]),
        ("GET", ["clusters", _, "addons", _]) => ("DescribeAddon", &[("clusterName", 1), ("addonName", 3)]),
        // Writes are told by name, so that a test sees one that should not have happened.
        ("POST", ["clusters", _, "access-entries"]) => ("CreateAccessEntry", &[("clusterName", 1)]),
        ("DELETE", ["clusters", _, "access-entries", _]) => {
            ("DeleteAccessEntry", &[("clusterName", 1), ("principalArn", 3)])
        }
        ("POST", ["clusters", _, "access-entries", _, "access-policies"]) => (
            "AssociateAccessPolicy",
            &[("clusterName", 1), ("principalArn", 3)],
        ),
        ("POST", ["clusters", _, "update-config"]) => ("UpdateClusterConfig", &[("name", 1)]),
        ("GET", _) => ("GetUnknown", &[]),
        _ => ("UnknownWrite", &[]),
    };
    let parameters = keys
        .iter()
        .map(|(key, index)| ((*key).to_owned(), segments[*index].clone()))
        .collect();
    (name.to_owned(), parameters)
}

pub(super) fn answer(
    world: &mut World,
    caller: &Caller,
    operation: &Operation,
    endpoint_of: EndpointOf<'_>,
) -> Answer {
    let written = matches!(
        operation.name.as_str(),
        "CreateAccessEntry" | "DeleteAccessEntry" | "AssociateAccessPolicy" | "UpdateClusterConfig"
    );
    if written {
        write(world, caller, operation)?;
    }
    let account = &world.accounts[caller.account];
    let cx = Context {
        account,
        caller,
        operation,
        page_size: world.page_size,
    };
    match operation.name.as_str() {
        "ListClusters" => cx.list_clusters(),
        "DescribeCluster" => {
            let cluster = cx.cluster()?;
            ok(&json!({ "cluster": cx.cluster_json(cluster, endpoint_of(&cluster.name)) }))
        }
        "ListAccessEntries" => {
            let cluster = cx.cluster_with_entries()?;
            let arns: Vec<_> = match operation.parameter("associatedPolicyArn") {
                Some(policy) => {
                    let has = |entry: &&AccessEntry| entry.policies.iter().any(|p| p.policy_arn == policy);
                    cluster
                        .access_entries
                        .iter()
                        .filter(has)
                        .map(|entry| &entry.principal_arn)
                        .collect()
                }
                None => cluster
                    .access_entries
                    .iter()
                    .map(|entry| &entry.principal_arn)
                    .collect(),
            };
            cx.list("accessEntries", &arns, |arn| json!(arn), Map::new())
        }
        "DeleteAccessEntry" => ok(&json!({})),
        "UpdateClusterConfig" => {
            let id = uuid(&operation.json.to_string());
            ok(
                &json!({ "update": { "id": id, "status": "Successful", "type": "AccessConfigUpdate", "params": [], "errors": [] } }),
            )
        }
        "AssociateAccessPolicy" => {
            let (cluster, entry) = cx.access_entry()?;
            ok(
                &json!({ "clusterName": cluster.name, "principalArn": entry.principal_arn, "associatedAccessPolicy": {
                    "policyArn": operation.json["policyArn"], "accessScope": operation.json["accessScope"],
                    "associatedAt": epoch(entry.created_at), "modifiedAt": epoch(entry.created_at),
                }}),
            )
        }
        "CreateAccessEntry" | "DescribeAccessEntry" => {
            let (cluster, entry) = cx.access_entry()?;
            ok(&json!({ "accessEntry": cx.access_entry_json(cluster, entry) }))
        }
        "ListAssociatedAccessPolicies" => {
            let (cluster, entry) = cx.access_entry()?;
            let more = fields(json!({ "clusterName": cluster.name, "principalArn": entry.principal_arn }));
            let policy = |policy: &crate::world::AccessPolicy| {
                let scope = if policy.namespaces.is_empty() {
                    json!({ "type": "cluster", "namespaces": [] })
                } else {
                    json!({ "type": "namespace", "namespaces": policy.namespaces })
                };
                json!({
                    "policyArn": policy.policy_arn, "accessScope": scope,
                    "associatedAt": epoch(entry.created_at), "modifiedAt": epoch(entry.created_at),
                })
            };
            cx.list("associatedAccessPolicies", &entry.policies, policy, more)
        }
        "ListPodIdentityAssociations" => {
            let cluster = cx.cluster()?;
            let wanted = |association: &&PodIdentity| {
                operation
                    .parameter("namespace")
                    .is_none_or(|namespace| namespace == association.namespace)
                    && operation
                        .parameter("serviceAccount")
                        .is_none_or(|name| name == association.service_account)
            };
            let some: Vec<_> = cluster.pod_identities.iter().filter(wanted).collect();
            cx.list(
                "associations",
                &some,
                |association| cx.pod_identity_json(cluster, association, false),
                Map::new(),
            )
        }
        "DescribePodIdentityAssociation" => {
            let cluster = cx.cluster()?;
            let id = cx.parameter("associationId");
            let found = cluster
                .pod_identities
                .iter()
                .find(|association| association.id == id);
            let association =
                found.ok_or_else(|| not_found(&format!("No association found for id: {id}"), &[]))?;
            ok(&json!({ "association": cx.pod_identity_json(cluster, association, true) }))
        }
        "ListFargateProfiles" => {
            let cluster = cx.cluster()?;
            cx.list(
                "fargateProfileNames",
                &cluster.fargate_profiles,
                |profile| json!(profile.name),
                Map::new(),
            )
        }
        "DescribeFargateProfile" => {
            let cluster = cx.cluster()?;
            let name = cx.parameter("fargateProfileName");
            let found = cluster
                .fargate_profiles
                .iter()
                .find(|profile| profile.name == name);
            let profile = found.ok_or_else(|| {
                not_found(
                    &format!("No Fargate Profile found with name: {name}."),
                    &[("clusterName", &cluster.name), ("fargateProfileName", name)],
                )
            })?;
            ok(&json!({ "fargateProfile": cx.fargate_profile_json(cluster, profile) }))
        }
        "ListNodegroups" => {
            let cluster = cx.cluster()?;
            cx.list(
                "nodegroups",
                &cluster.nodegroups,
                |group| json!(group.name),
                Map::new(),
            )
        }
        "DescribeNodegroup" => {
            let cluster = cx.cluster()?;
            let name = cx.parameter("nodegroupName");
            let found = cluster.nodegroups.iter().find(|group| group.name == name);
            let group = found.ok_or_else(|| {
                not_found(
                    &format!("No node group found for name: {name}."),
                    &[("clusterName", &cluster.name), ("nodegroupName", name)],
                )
            })?;
            ok(&json!({ "nodegroup": cx.nodegroup_json(cluster, group) }))
        }
        "ListAddons" => {
            let cluster = cx.cluster()?;
            cx.list("addons", &cluster.addons, |addon| json!(addon.name), Map::new())
        }
        "DescribeAddon" => {
            let cluster = cx.cluster()?;
            let name = cx.parameter("addonName");
            let found = cluster.addons.iter().find(|addon| addon.name == name);
            let addon = found.ok_or_else(|| {
                let text = format!("No addon: {name} found in cluster: {}", cluster.name);
                not_found(&text, &[("clusterName", &cluster.name), ("addonName", name)])
            })?;
            let path = cx.resource(&cluster.name);
            ok(&json!({ "addon": {
                "addonName": addon.name, "clusterName": cluster.name, "status": addon.status,
                "addonVersion": addon.version, "health": { "issues": [] },
                "addonArn": cx.arn(cluster, &path),
                "createdAt": epoch(cluster.created_at), "modifiedAt": epoch(cluster.created_at), "tags": {},
            }}))
        }
        // What the gateway in front of EKS says to a path it has no operation for.
        _ => Err(json_error(
            403,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        )),
    }
}

/// The writes of access entries and of the authentication mode, refused as the EKS user guide says.
fn write(world: &mut World, caller: &Caller, operation: &Operation) -> Result<(), Reply> {
    let refused = |code: &str, text: &str| json_error(400, code, text);
    let body = &operation.json;
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let account = &mut world.accounts[caller.account];
    let name = operation.segments[1].clone();
    let resource = format!(
        "arn:{}:eks:{}:{}:cluster/{name}",
        account.partition, caller.region, account.id
    );
    caller.may(Aws::Eks, &operation.action(), &resource)?;
    let roles: Vec<String> = account.roles.iter().map(|role| account.role_arn(role)).collect();
    let own = account.id.clone();
    let Some(cluster) = account
        .clusters
        .iter_mut()
        .find(|cluster| cluster.name == name && cluster.region == caller.region)
    else {
        return Err(not_found(
            &format!("No cluster found for name: {name}."),
            &[("clusterName", &name)],
        ));
    };
    let mode = cluster
        .authentication_mode
        .unwrap_or(AuthenticationMode::ConfigMap);
    if operation.name == "UpdateClusterConfig" {
        let wanted = body["accessConfig"]["authenticationMode"]
            .as_str()
            .unwrap_or_default();
        cluster.authentication_mode = Some(match (mode, wanted) {
            (AuthenticationMode::ConfigMap, "API_AND_CONFIG_MAP") => AuthenticationMode::ApiAndConfigMap,
            (AuthenticationMode::ApiAndConfigMap, "API") => AuthenticationMode::Api,
            // It only goes forward, a step at a time.
            _ => {
                return Err(refused(
                    "InvalidParameterException",
                    "Unsupported authentication mode update",
                ));
            }
        });
        return Ok(());
    }
    if mode == AuthenticationMode::ConfigMap {
        return Err(refused(
            "InvalidRequestException",
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
        ));
    }
    let principal = match operation.parameter("principalArn") {
        Some(principal) => principal.to_owned(),
        None => text("principalArn").to_owned(),
    };
    let at = cluster
        .access_entries
        .iter()
        .position(|entry| entry.principal_arn == principal);
    match (operation.name.as_str(), at) {
        ("CreateAccessEntry", Some(_)) => Err(json_error(
            409,
            "ResourceInUseException",
            "The specified access entry resource is already in use on this cluster.",
        )),
        ("CreateAccessEntry", None) => {
            let kind = match text("type") {
                "" => "STANDARD",
                kind => kind,
            };
            let groups: Vec<String> = body["kubernetesGroups"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|group| group.as_str().map(str::to_owned))
                .collect();
            let of_account = principal.split(':').nth(4) == Some(own.as_str());
            if principal.contains(":role/") && of_account && !roles.contains(&principal) {
                return Err(refused(
                    "InvalidParameterException",
                    "The specified principalArn is invalid: invalid principal.",
                ));
            }
            if kind != "STANDARD" && (!of_account || !groups.is_empty() || !text("username").is_empty()) {
                return Err(refused(
                    "InvalidParameterException",
                    "A node's access entry has neither username nor groups, and is of the cluster's account.",
                ));
            }
            if let Some(group) = groups.iter().find(|group| group.starts_with("system:")) {
                return Err(refused(
                    "InvalidParameterException",
                    &format!("The kubernetes group name {group} is invalid, it cannot start with system:"),
                ));
            }
            let username = text("username");
            let reserved = ["system:", "eks:", "aws:", "amazon:", "iam:"]
                .iter()
                .any(|prefix| username.starts_with(prefix));
            let session = username
                .find("{{SessionName}}")
                .is_some_and(|at| !username[..at].contains(':'));
            if reserved || session {
                return Err(refused("InvalidParameterException", "The username is invalid."));
            }
            let mut entry = AccessEntry::new(&principal, kind);
            if !username.is_empty() {
                username.clone_into(&mut entry.username);
            }
            if kind == "STANDARD" {
                entry.groups = groups;
            }
            entry.created_at = crate::world::date("2026-11-01T00:00:00Z");
            cluster.access_entries.push(entry);
            Ok(())
        }
        (_, None) => Ok(()),
        ("DeleteAccessEntry", Some(at)) => {
            cluster.access_entries.remove(at);
            Ok(())
        }
        (_, Some(at)) => {
            let entry = &mut cluster.access_entries[at];
            if entry.kind != "STANDARD" {
                return Err(refused(
                    "InvalidRequestException",
                    "A node's access entry has no policies.",
                ));
            }
            entry.policies.push(crate::world::AccessPolicy {
                policy_arn: text("policyArn").to_owned(),
                namespaces: body["accessScope"]["namespaces"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|namespace| namespace.as_str().map(str::to_owned))
                    .collect(),
            });
            Ok(())
        }
    }
}

struct Context<'a> {
    account: &'a Account,
    caller: &'a Caller,
    operation: &'a Operation,
    page_size: usize,
}

impl<'a> Context<'a> {
    fn parameter(&self, name: &str) -> &'a str {
        get(&self.operation.parameters, name).unwrap_or_default()
    }

    fn arn(&self, cluster: &Cluster, resource: &str) -> String {
        cluster.eks_arn(&self.account.partition, &self.account.id, resource)
    }

    /// EKS checks the right before the existence; the resource is an ARN of this region.
    fn may(&self, resource: &str) -> Result<(), Reply> {
        let region = &self.caller.region;
        let arn = format!(
            "arn:{}:eks:{region}:{}:{resource}",
            self.account.partition, self.account.id
        );
        self.caller.may(Aws::Eks, &self.operation.action(), &arn)
    }

    fn list_clusters(&self) -> Answer {
        self.may("cluster/*")?;
        let here: Vec<_> = self
            .account
            .clusters
            .iter()
            .filter(|c| c.region == self.caller.region)
            .collect();
        self.list("clusters", &here, |cluster| json!(cluster.name), Map::new())
    }

    /// The cluster that the path names, in the region the request is signed for.
    fn cluster(&self) -> Result<&'a Cluster, Reply> {
        let name = &self.operation.segments[1];
        let found = self
            .account
            .clusters
            .iter()
            .find(|cluster| cluster.name == *name && cluster.region == self.caller.region);
        self.may(&self.resource(name))?;
        found.ok_or_else(|| {
            not_found(
                &format!("No cluster found for name: {name}."),
                &[("clusterName", name)],
            )
        })
    }

    /// What the right is checked on: lists on the cluster, single things on their own ARN.
    fn resource(&self, cluster: &str) -> String {
        let Some(thing) = self.operation.segments.get(3) else {
            return format!("cluster/{cluster}");
        };
        match self.operation.segments[2].as_str() {
            "access-entries" => self.access_entry_resource(cluster, thing),
            "pod-identity-associations" => format!("podidentityassociation/{cluster}/{thing}"),
            "fargate-profiles" => format!("fargateprofile/{cluster}/{thing}/{}", uuid(thing)),
            "node-groups" => format!("nodegroup/{cluster}/{thing}/{}", uuid(thing)),
            _ => format!("addon/{cluster}/{thing}/{}", uuid(thing)),
        }
    }

    fn access_entry_resource(&self, cluster: &str, principal_arn: &str) -> String {
        let principal = principal_arn.rsplit(':').next().unwrap_or_default();
        let (kind, path) = principal.split_once('/').unwrap_or(("role", principal));
        let name = path.rsplit('/').next().unwrap_or(path);
        let owner = principal_arn.split(':').nth(4).unwrap_or(&self.account.id);
        format!(
            "access-entry/{cluster}/{kind}/{owner}/{name}/{}",
            uuid(principal_arn)
        )
    }

    fn cluster_with_entries(&self) -> Result<&'a Cluster, Reply> {
        let cluster = self.cluster()?;
        match cluster.authentication_mode {
            Some(
                crate::world::AuthenticationMode::Api | crate::world::AuthenticationMode::ApiAndConfigMap,
            ) => Ok(cluster),
            _ => Err(json_error(
                400,
                "InvalidRequestException",
                "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
            )),
        }
    }

    fn access_entry(&self) -> Result<(&'a Cluster, &'a AccessEntry), Reply> {
        let cluster = self.cluster_with_entries()?;
        let principal = match self.parameter("principalArn") {
            // A new one stands in the body.
            "" => self.operation.json["principalArn"].as_str().unwrap_or_default(),
            principal => principal,
        };
        let found = cluster
            .access_entries
            .iter()
            .find(|entry| entry.principal_arn == principal);
        let entry = found.ok_or_else(|| {
            not_found(
                "The specified principalArn could not be found. You can view your available access entries with \
                 'list-access-entries'.",
                &[],
            )
        })?;
        Ok((cluster, entry))
    }

    /// A page of a list, with `nextToken` as EKS gives it: null on the last page.
    fn list<T>(
        &self,
        key: &str,
        all: &[T],
        show: impl Fn(&T) -> Value,
        mut more: Map<String, Value>,
    ) -> Answer {
        let wanted = self
            .operation
            .parameter("maxResults")
            .and_then(|text| text.parse().ok())
            .unwrap_or(100_usize);
        let token = self
            .operation
            .parameter("nextToken")
            .filter(|token| !token.is_empty());
        let (some, next) = page(all, token, wanted.min(self.page_size))
            .ok_or_else(|| json_error(400, "InvalidParameterException", "Invalid nextToken."))?;
        more.insert(key.to_owned(), some.iter().map(show).collect());
        more.insert("nextToken".to_owned(), json!(next));
        ok(&Value::Object(more))
    }

    fn cluster_json(&self, cluster: &Cluster, standin: Option<(String, Option<String>)>) -> Value {
        let mut ca_data = cluster.ca_data.clone();
        let endpoint = match &cluster.endpoint {
            Endpoint::Standin => standin.map(|(url, ca_pem)| {
                if let Some(pem) = ca_pem {
                    ca_data = Some(base64::engine::general_purpose::STANDARD.encode(pem));
                }
                url
            }),
            Endpoint::Is(text) => Some(text.clone()),
            Endpoint::Absent => None,
        };
        let mut out = fields(json!({
            "name": cluster.name,
            "arn": self.arn(cluster, &format!("cluster/{}", cluster.name)),
            "createdAt": epoch(cluster.created_at),
            "version": cluster.version,
            "roleArn": cluster.role_arn,
            "resourcesVpcConfig": {
                "subnetIds": ["subnet-0a1b2c3d4e5f60718", "subnet-08172635445362718"],
                "securityGroupIds": [],
                "clusterSecurityGroupId": "sg-0a1b2c3d4e5f60718",
                "vpcId": "vpc-0a1b2c3d4e5f60718",
                "endpointPublicAccess": cluster.public_access,
                "endpointPrivateAccess": true,
                "publicAccessCidrs": if cluster.public_access { json!(["0.0.0.0/0"]) } else { json!([]) },
            },
            "kubernetesNetworkConfig": { "serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4" },
            "logging": { "clusterLogging": [
                { "types": ["api", "audit", "authenticator", "controllerManager", "scheduler"], "enabled": false },
            ]},
            "status": cluster.status,
            "platformVersion": cluster.platform_version,
            "tags": {},
            "health": { "issues": [] },
            "upgradePolicy": { "supportType": "EXTENDED" },
        }));
        if let Some(endpoint) = endpoint {
            out.insert("endpoint".to_owned(), json!(endpoint));
        }
        let ca = ca_data.map_or_else(|| json!({}), |data| json!({ "data": data }));
        out.insert("certificateAuthority".to_owned(), ca);
        if let Some(issuer) = &cluster.oidc_issuer {
            out.insert("identity".to_owned(), json!({ "oidc": { "issuer": issuer } }));
        }
        if let Some(mode) = cluster.authentication_mode {
            let mut access = fields(json!({ "authenticationMode": mode.as_str() }));
            if let Some(creator) = cluster.creator_admin {
                access.insert(
                    "bootstrapClusterCreatorAdminPermissions".to_owned(),
                    json!(creator),
                );
            }
            out.insert("accessConfig".to_owned(), Value::Object(access));
        }
        if let Some(auto) = &cluster.auto_mode {
            let mut compute = fields(json!({ "enabled": auto.enabled, "nodePools": auto.node_pools }));
            if let Some(role) = &auto.node_role_arn {
                compute.insert("nodeRoleArn".to_owned(), json!(role));
            }
            out.insert("computeConfig".to_owned(), Value::Object(compute));
        }
        overlay(&mut out, &cluster.extra);
        Value::Object(out)
    }

    fn access_entry_json(&self, cluster: &Cluster, entry: &AccessEntry) -> Value {
        let resource = self.access_entry_resource(&cluster.name, &entry.principal_arn);
        json!({
            "clusterName": cluster.name,
            "principalArn": entry.principal_arn,
            "kubernetesGroups": entry.groups,
            "accessEntryArn": self.arn(cluster, &resource),
            "createdAt": epoch(entry.created_at),
            "modifiedAt": epoch(entry.created_at),
            "tags": {},
            "username": entry.username,
            "type": entry.kind,
        })
    }

    fn pod_identity_json(&self, cluster: &Cluster, association: &PodIdentity, full: bool) -> Value {
        let resource = format!("podidentityassociation/{}/{}", cluster.name, association.id);
        let mut out = fields(json!({
            "clusterName": cluster.name,
            "namespace": association.namespace,
            "serviceAccount": association.service_account,
            "associationArn": self.arn(cluster, &resource),
            "associationId": association.id,
        }));
        if full {
            overlay(
                &mut out,
                &fields(json!({
                    "roleArn": association.role_arn,
                    "tags": {},
                    "createdAt": epoch(cluster.created_at),
                    "modifiedAt": epoch(cluster.created_at),
                    "disableSessionTags": false,
                })),
            );
            if let Some(target) = &association.target_role_arn {
                out.insert("targetRoleArn".to_owned(), json!(target));
            }
        }
        Value::Object(out)
    }

    fn fargate_profile_json(&self, cluster: &Cluster, profile: &FargateProfile) -> Value {
        let selectors: Vec<_> = profile
            .selectors
            .iter()
            .map(|(namespace, labels)| json!({ "namespace": namespace, "labels": labels }))
            .collect();
        let resource = format!(
            "fargateprofile/{}/{}/{}",
            cluster.name,
            profile.name,
            uuid(&profile.name)
        );
        json!({
            "fargateProfileName": profile.name,
            "fargateProfileArn": self.arn(cluster, &resource),
            "clusterName": cluster.name,
            "createdAt": epoch(cluster.created_at),
            "podExecutionRoleArn": profile.pod_execution_role_arn,
            "subnets": ["subnet-0a1b2c3d4e5f60718"],
            "selectors": selectors,
            "status": profile.status,
            "tags": {},
            "health": { "issues": [] },
        })
    }

    fn nodegroup_json(&self, cluster: &Cluster, group: &Nodegroup) -> Value {
        let resource = self.resource(&cluster.name);
        let mut out = fields(json!({
            "nodegroupName": group.name,
            "nodegroupArn": self.arn(cluster, &resource),
            "clusterName": cluster.name,
            "version": cluster.version,
            "createdAt": epoch(cluster.created_at),
            "modifiedAt": epoch(cluster.created_at),
            "status": group.status,
            "capacityType": group.capacity_type,
            "scalingConfig": { "minSize": 1, "maxSize": 3, "desiredSize": 2 },
            "instanceTypes": ["m7i.large"],
            "subnets": ["subnet-0a1b2c3d4e5f60718"],
            "amiType": "AL2023_x86_64_STANDARD",
            "nodeRole": group.node_role,
            "diskSize": 20,
            "health": { "issues": [] },
            "tags": {},
        }));
        overlay(&mut out, &group.extra);
        Value::Object(out)
    }
}

fn ok(value: &Value) -> Answer {
    Ok(Reply::json(200, value).with("x-amzn-requestid", REQUEST_ID))
}

fn not_found(message: &str, more: &[(&str, &str)]) -> Reply {
    let mut body = Map::new();
    for (key, value) in more {
        body.insert((*key).to_owned(), json!(value));
    }
    body.insert("message".to_owned(), json!(message));
    json_error_with(404, "ResourceNotFoundException", &Value::Object(body))
}

/// The fields of a literal object.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn overlay(out: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (key, value) in extra {
        if value.is_null() {
            out.shift_remove(key);
        } else {
            out.insert(key.clone(), value.clone());
        }
    }
}

/// EKS dates are seconds since the epoch with a fraction.
#[allow(clippy::cast_precision_loss)]
fn epoch(timestamp: Timestamp) -> f64 {
    timestamp.as_millisecond() as f64 / 1000.0
}

/// The id at the end of an ARN, the same for the same name in every run.
fn uuid(name: &str) -> String {
    let text: String = unique_id("", name)
        .bytes()
        .chain(unique_id("", &format!("{name}/")).bytes())
        .map(|byte| char::from_digit(u32::from(byte) % 16, 16).unwrap_or('0'))
        .take(32)
        .collect();
    format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )
}
