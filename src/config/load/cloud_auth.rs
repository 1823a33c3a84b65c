//! The sections that sign requests for a cloud provider: checked, and not built yet.

use super::{
    mechanisms::require,
    schema::{
        Kind::{self, Boolean, Secret, Text},
        Section, Values, anything,
    },
};

/// The sections of a remote endpoint by their keys.
pub(super) fn section(key: &str) -> Option<(&'static str, &'static Section)> {
    [
        ("sigv4", &SIGV4),
        ("azuread", &AZURE_AD),
        ("google_iam", &GOOGLE_IAM),
    ]
    .into_iter()
    .find(|(known, _)| *known == key)
}

/// Requests signed for Amazon.
pub(super) static SIGV4: Section = Section {
    go_type: "sigv4.plain",
    keys: &[
        ("region", Text),
        ("access_key", Text),
        ("secret_key", Secret),
        ("profile", Text),
        ("role_arn", Text),
        ("external_id", Text),
        ("use_fips_sts_endpoint", Boolean),
    ],
    http_client: false,
    check: |values| {
        require(
            values.is_set("access_key") == values.is_set("secret_key"),
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        )?;
        require(
            values.is_set("role_arn") || !values.is_set("external_id"),
            "external_id can only be used with role_arn",
        )
    },
};

static GOOGLE_IAM: Section = Section {
    go_type: "googleiam.Config",
    keys: &[("credentials_file", Text)],
    http_client: false,
    check: anything,
};

static AZURE_AD: Section = Section {
    go_type: "azuread.plain",
    keys: &[
        ("managed_identity", Kind::Section(&MANAGED_IDENTITY)),
        ("workload_identity", Kind::Section(&WORKLOAD_IDENTITY)),
        ("oauth", Kind::Section(&OAUTH)),
        ("sdk", Kind::Section(&SDK)),
        ("cloud", Text),
        ("scope", Text),
    ],
    http_client: false,
    check: azure_ad,
};

static MANAGED_IDENTITY: Section = Section {
    go_type: "azuread.ManagedIdentityConfig",
    keys: &[("client_id", Text)],
    http_client: false,
    check: anything,
};

static WORKLOAD_IDENTITY: Section = Section {
    go_type: "azuread.WorkloadIdentityConfig",
    keys: &[
        ("client_id", Text),
        ("tenant_id", Text),
        ("token_file_path", Text),
    ],
    http_client: false,
    check: anything,
};

static OAUTH: Section = Section {
    go_type: "azuread.OAuthConfig",
    keys: &[
        ("client_id", Text),
        ("client_secret", Text),
        ("tenant_id", Text),
    ],
    http_client: false,
    check: anything,
};

static SDK: Section = Section {
    go_type: "azuread.SDKConfig",
    keys: &[("tenant_id", Text)],
    http_client: false,
    check: anything,
};

/// Source: `AzureADConfig.Validate`.
fn azure_ad(values: &Values) -> Result<(), String> {
    require(
        ["", "AzureChina", "AzureGovernment", "AzurePublic"].contains(&values.text("cloud")),
        "must provide a cloud in the Azure AD config",
    )?;
    let methods = ["managed_identity", "workload_identity", "oauth", "sdk"];
    match methods.iter().filter(|key| values.is_set(key)).count() {
        0 => {
            return Err(
                "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth or \
                 Azure SDK in the Azure AD config"
                    .to_owned(),
            );
        }
        1 => {}
        _ => {
            return Err(
                "cannot provide multiple authentication methods in the Azure AD config".to_owned(),
            );
        }
    }
    let identified = |section: &Values, method: &str| {
        require(
            is_uuid(section.text("client_id")),
            &format!("the provided {method} client_id is invalid"),
        )
    };
    let need = |section: &Values, method: &str, key: &str| {
        require(
            section.is_set(key),
            &format!("must provide an {method} {key} in the Azure AD config"),
        )
    };
    if let Some(managed) = values.section("managed_identity")
        && managed.is_set("client_id")
    {
        identified(managed, "Azure Managed Identity")?;
    }
    if let Some(workload) = values.section("workload_identity") {
        need(workload, "Azure Workload Identity", "client_id")?;
        need(workload, "Azure Workload Identity", "tenant_id")?;
        identified(workload, "Azure Workload Identity")?;
    }
    if let Some(oauth) = values.section("oauth") {
        need(oauth, "Azure OAuth", "client_id")?;
        need(oauth, "Azure OAuth", "client_secret")?;
        need(oauth, "Azure OAuth", "tenant_id")?;
        identified(oauth, "Azure OAuth")?;
    }
    Ok(())
}

/// Whether a text is a UUID in its usual form.
fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
