//! What both layers that run a server put around it: a stack's targets as exporters that play its
//! script, and a copy of its files in which only the addresses are others.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use super::exporter::{LabelMap, Script, folder};
use crate::harness::Exporter;

/// A stack's targets, listening, and the addresses that stand for those of its files.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) script: Arc<Script>,
    pub(super) stack: &'static str,
    /// The address that the files name, and the real one.
    addresses: Vec<(String, String)>,
    _exporters: Vec<Exporter>,
}

impl Scene {
    /// Serves every target of the stack's script; `at` is the script time in seconds, and the script
    /// runs `speed` times as fast as the clock of the server that scrapes it.
    pub(super) fn serve(
        stack: &'static str,
        alertmanager: SocketAddr,
        at: impl Fn() -> f64 + Clone + Send + Sync + 'static,
        speed: f64,
    ) -> Self {
        let script = Arc::new(Script::load(stack));
        let mut addresses = vec![(script.alertmanager.clone(), alertmanager.to_string())];
        let mut exporters = Vec::new();
        for (index, target) in script.targets.iter().enumerate() {
            let script = Arc::clone(&script);
            let at = at.clone();
            let exporter = Exporter::new(move || {
                let (target, at) = (&script.targets[index], at());
                target.is_up(at).then(|| target.body(at, speed))
            });
            addresses.push((target.address.clone(), exporter.address.to_string()));
            exporters.push(exporter);
        }
        Self {
            script,
            stack,
            addresses,
            _exporters: exporters,
        }
    }

    /// The text with the real addresses in place of those that the stack's files name.
    pub(super) fn real(&self, text: &str) -> String {
        self.addresses
            .iter()
            .fold(text.to_owned(), |text, (named, real)| {
                text.replace(named, real)
            })
    }

    /// The text with the addresses that the stack's files name.
    pub(super) fn named(&self, text: &str) -> String {
        self.addresses
            .iter()
            .fold(text.to_owned(), |text, (named, real)| {
                text.replace(real, named)
            })
    }

    /// Labels or annotations with the addresses that the stack's files name.
    pub(super) fn named_all(&self, texts: &LabelMap) -> LabelMap {
        let pairs = texts.iter();
        pairs
            .map(|(name, value)| (name.clone(), self.named(value)))
            .collect()
    }

    /// The labels of a delivered alert without the external ones, which must be there.
    pub(super) fn without_external(&self, labels: &LabelMap) -> LabelMap {
        let mut labels = labels.clone();
        if self.stack == "butterfly" {
            let replica = labels.remove("replica");
            assert_eq!(replica.as_deref(), Some("prometheus-0"));
        }
        labels
    }

    /// Copies `prometheus.yml`, with the real addresses, and the rule files; both through `change`.
    pub(super) fn copy(&self, to: &Path, change: impl Fn(&str) -> String) {
        let mut folders = vec![folder(self.stack)];
        while let Some(from) = folders.pop() {
            for entry in fs::read_dir(&from).unwrap() {
                let path = entry.unwrap().path();
                let inside = path.strip_prefix(folder(self.stack)).unwrap();
                if path.is_dir() {
                    fs::create_dir_all(to.join(inside)).unwrap();
                    folders.push(path);
                } else if path
                    .extension()
                    .is_some_and(|end| end == "yml" || end == "yaml")
                    && inside != Path::new("tests.yml")
                {
                    let text = fs::read_to_string(&path).unwrap();
                    let text = if inside == Path::new("prometheus.yml") {
                        self.real(&text)
                    } else {
                        text
                    };
                    fs::write(to.join(inside), change(&text)).unwrap();
                }
            }
        }
    }
}
