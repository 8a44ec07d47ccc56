//! A cluster and a caller, as EKS and STS show them.

use eks_aws_auth::AuthenticationMode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An EKS cluster as `eks:DescribeCluster` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name.
    pub name: String,
    /// ARN; its account is the cluster's account.
    pub arn: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, `FAILED`, `UPDATING`, `PENDING`.
    pub status: String,
    /// The API server's endpoint; absent while creating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Kubernetes version, `1.34`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `eks.12`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// The authentication mode. Absent in the answer of clusters older than access entries: `CONFIG_MAP`.
    pub authentication_mode: AuthenticationMode,
    /// The OIDC issuer's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_issuer: Option<String>,
    /// SHA-256 of the certificate authority data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority_sha256: Option<String>,
    /// The certificate authority itself, base64 of PEM: to connect with, and in no file.
    #[serde(skip)]
    pub certificate_authority_data: Option<String>,
    /// EKS Auto Mode's compute is on.
    pub auto_mode: bool,
    /// The cluster's own role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
}

impl Cluster {
    /// The account in the cluster's ARN.
    pub fn account(&self) -> Option<&str> {
        self.arn
            .split(':')
            .nth(4)
            .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
    }

    /// The certificates of its authority, DER.
    pub fn certificate_authority(&self) -> Option<Vec<Vec<u8>>> {
        use base64::Engine as _;
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let data = self.certificate_authority_data.as_deref()?;
        let pem = base64::engine::general_purpose::STANDARD
            .decode(data.trim())
            .ok()?;
        let all: Result<Vec<Vec<u8>>, _> = CertificateDer::pem_slice_iter(&pem)
            .map(|one| one.map(|one| one.to_vec()))
            .collect();
        all.ok().filter(|all| !all.is_empty())
    }
}

/// What `sts:GetCallerIdentity` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// `arn:aws:sts::111122223333:assumed-role/Admin/alice` or an IAM user's ARN.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
    /// `AROA...:alice` or `AIDA...`; the part before the colon is the principal's id.
    pub user_id: String,
}
