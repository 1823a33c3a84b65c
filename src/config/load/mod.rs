//! Reads configuration files: text to types, defaults, inheritance and checks.
//!
//! Sections are read as they stand first (drafts) and finished with what they inherit, so that every
//! wrong key and value of a file is reported in one run before anything that depends on it.

mod cloud_auth;
mod discovery;
mod http_client;
mod mechanisms;
mod relabel;
mod remote;
mod schema;
mod scrape;
mod sections;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use narthex_storage::{Labels, LabelsBuilder};

pub(super) use http_client::redacted_url;

use narthex_yaml::{Node, Problem};

use super::{
    Config, ConfigError, GlobalConfig, HttpClientConfig, ScrapeConfig, TargetGroup, decode::Decoder,
};

/// Reads and checks the configuration in `path`, including the files of `scrape_config_files`.
/// `environment` answers for the variables of `external_labels`.
///
/// # Errors
/// [`ConfigError`], whose first line is Prometheus's message.
pub fn load_file(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let mut config = load(&bytes, path, environment)
        .map_err(|error| error.within(&format!("parsing YAML file {}", path.display())))?;
    config.scrape_configs_of_files = scrape_config_files(&config)?;
    Ok(config)
}

/// Reads and checks a configuration text. `path` is where it stands: relative paths resolve against
/// its folder, and errors name it. Files of `scrape_config_files` are not read.
///
/// # Errors
/// [`ConfigError`], whose first line is Prometheus's message.
pub fn load(
    bytes: &[u8],
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let draft = read(bytes, path, sections::read)?.unwrap_or_default();
    let source = String::from_utf8_lossy(bytes);
    let mut config = draft
        .finish()
        .map_err(|problem| ConfigError::problem(path, &source, problem))?;
    config.global.external_labels = expand_variables(&config.global.external_labels, environment);
    Ok(config)
}

/// Reads the HTTP client settings of a file, as the commands that talk to a server take them.
///
/// # Errors
/// [`ConfigError`], whose first line is Prometheus's message.
pub fn load_http_client(path: &Path) -> Result<HttpClientConfig, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let config = read(&bytes, path, |decoder, node| {
        let mut draft = http_client::HttpClientDraft::new(true);
        for field in decoder.fields(node, "config.plain")? {
            if !draft.field(decoder, &field)? {
                decoder.unknown_field(&field, "config.plain");
            }
        }
        draft.finish(node.position)
    })?;
    Ok(config.unwrap_or_default())
}

/// Reads a YAML file of discovered target groups; the source of a group is the file and its
/// position.
///
/// # Errors
/// [`ConfigError`] when the text is not a list of target groups.
pub(crate) fn load_target_groups(
    bytes: &[u8],
    path: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    let groups = read(bytes, path, |decoder, node| {
        let mut groups = Vec::new();
        for (index, item) in decoder
            .items(node, "[]*targetgroup.Group")
            .iter()
            .enumerate()
        {
            if narthex_yaml::is_null(item) {
                return Err(Problem::section(
                    item.position,
                    format!("nil target group item found (index {index})"),
                ));
            }
            let source = format!("{}:{index}", path.display());
            groups.push(discovery::target_group(
                decoder,
                item,
                source,
                &mut Vec::new(),
            )?);
        }
        Ok(groups)
    })?;
    Ok(groups.unwrap_or_default())
}

/// Parses `bytes` and reads its first document with `section`; `None` when it has none.
fn read<T>(
    bytes: &[u8],
    path: &Path,
    section: impl FnOnce(&mut Decoder, &Rc<Node>) -> Result<T, Problem>,
) -> Result<Option<T>, ConfigError> {
    let source = String::from_utf8_lossy(bytes);
    let root =
        narthex_yaml::parse(bytes).map_err(|error| ConfigError::syntax(path, &source, error))?;
    let Some(root) = root else {
        return Ok(None);
    };
    let mut decoder = Decoder::new(path.parent().unwrap_or(Path::new("")));
    let value = section(&mut decoder, &root)
        .map_err(|problem| ConfigError::problem(path, &source, problem))?;
    let issues = decoder.into_issues();
    if !issues.is_empty() {
        return Err(ConfigError::issues(path, &source, &issues));
    }
    Ok(Some(value))
}

/// Go's words for a file that cannot be read.
fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError::plain(format!("open {}: {}", path.display(), io_reason(error)))
}

/// The reason of an I/O error in the words of the operating system, lower case, without a number.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// The jobs of all files that `scrape_config_files` name. Source: `Config.GetScrapeConfigs`.
fn scrape_config_files(config: &Config) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let mut first_found: HashMap<String, String> = config
        .scrape_configs
        .iter()
        .map(|job| (job.job_name.clone(), "main config file".to_owned()))
        .collect();
    let mut jobs = Vec::new();
    for pattern in &config.scrape_config_files {
        for path in matching_files(pattern).map_err(|error| {
            ConfigError::plain(format!(
                "error retrieving scrape config files for {pattern:?}: {error}"
            ))
        })? {
            let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
            let absolute = absolute.display().to_string();
            let of_file = |error: ConfigError| error.within(&format!("{absolute:?}"));
            let bytes = std::fs::read(&path).map_err(|error| of_file(unreadable(&path, &error)))?;
            let found = jobs_of_file(
                &bytes,
                &path,
                &config.global,
                &config.global_escaping,
                |name| {
                    let earlier = first_found.get(name).cloned();
                    if earlier.is_none() {
                        first_found.insert(name.to_owned(), format!("{absolute:?}"));
                    }
                    earlier
                },
            );
            jobs.extend(found.map_err(of_file)?);
        }
    }
    Ok(jobs)
}

/// The jobs of one file; `earlier` names where a job of that name was found before, if it was.
fn jobs_of_file(
    bytes: &[u8],
    path: &Path,
    global: &GlobalConfig,
    global_escaping: &str,
    mut earlier: impl FnMut(&str) -> Option<String>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let drafts = read(bytes, path, |decoder, node| {
        let mut drafts = Vec::new();
        for field in decoder.fields(node, "config.ScrapeConfigs")? {
            match field.name.as_str() {
                "scrape_configs" => drafts = scrape::jobs(decoder, &field.value)?,
                _ => decoder.unknown_field(&field, "config.ScrapeConfigs"),
            }
        }
        Ok(drafts)
    })?;
    let source = String::from_utf8_lossy(bytes);
    let mut jobs = Vec::new();
    for draft in drafts.unwrap_or_default() {
        let at = draft.at;
        let job = draft
            .finish(global, global_escaping)
            .map_err(|problem| ConfigError::problem(path, &source, problem))?;
        if let Some(place) = earlier(&job.job_name) {
            let message = format!(
                "found multiple scrape configs with job name {:?}, first found in {place}",
                job.job_name
            );
            return Err(ConfigError::problem(
                path,
                &source,
                Problem::section(at, message),
            ));
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// The existing files that match a path or pattern, in order of their names.
///
/// # Errors
/// A sentence when the pattern is malformed.
pub(crate) fn matching_files(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let paths = glob::glob_with(pattern, options).map_err(|error| error.to_string())?;
    Ok(paths.filter_map(Result::ok).collect())
}

/// `external_labels` with `$VAR` and `${VAR}` filled in; `$$` is a dollar sign and an unknown
/// variable is empty. Source: Go's `os.Expand`.
fn expand_variables(labels: &Labels, environment: &dyn Fn(&str) -> Option<String>) -> Labels {
    let mut expanded = LabelsBuilder::default();
    for (name, value) in labels.iter() {
        expanded.set(name, &expand(value, environment));
    }
    expanded.build()
}

fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, behind) = match behind.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, behind)) => (name, behind),
                // An opening brace without its end is swallowed with the dollar sign.
                None => ("", inner),
            },
            None => {
                let special = behind
                    .starts_with(|first: char| first.is_ascii_digit() || "*#$@!?-".contains(first));
                let end = if special {
                    1
                } else {
                    behind
                        .find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'))
                        .unwrap_or(behind.len())
                };
                let (name, behind_name) = behind.split_at(end);
                if name.is_empty() {
                    // A dollar sign with no name behind it stands for itself.
                    expanded.push('$');
                }
                (name, behind_name)
            }
        };
        match name {
            "" => {}
            "$" => expanded.push('$'),
            name => expanded.push_str(&environment(name).unwrap_or_default()),
        }
        rest = behind;
    }
    expanded.push_str(rest);
    expanded
}
