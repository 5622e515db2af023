//! What Prometheus is told of looks and webhooks.

use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGaugeVec, Registry, opts};

/// Metrics of looks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Looked {
    looks: IntCounterVec,
    errors: IntCounterVec,
    repositories: IntGaugeVec,
    oldest: IntGaugeVec,
    webhooks: IntCounterVec,
}

impl Looked {
    /// Registers them.
    ///
    /// # Errors
    /// One is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let looked = Self {
            looks: IntCounterVec::new(
                opts!(
                    "looks_total",
                    "Looks at repositories, by what they are (git, ssh, github, gitlab, gitee, registry) and by result (new, same, failed)."
                ),
                &["kind", "result"],
            )?,
            errors: IntCounterVec::new(
                opts!("look_errors_total", "Looks that failed, by reason."),
                &["kind", "reason"],
            )?,
            repositories: IntGaugeVec::new(opts!("repositories", "Repositories that are looked at."), &["kind"])?,
            oldest: IntGaugeVec::new(
                opts!(
                    "oldest_look_timestamp_seconds",
                    "When the repository was last looked at for which that is longest ago."
                ),
                &["kind"],
            )?,
            webhooks: IntCounterVec::new(
                opts!("webhooks_total", "Webhooks, by sender and result (woken, unknown, refused)."),
                &["sender", "result"],
            )?,
        };
        registry.register(Box::new(looked.looks.clone()))?;
        registry.register(Box::new(looked.errors.clone()))?;
        registry.register(Box::new(looked.repositories.clone()))?;
        registry.register(Box::new(looked.oldest.clone()))?;
        registry.register(Box::new(looked.webhooks.clone()))?;
        Ok(looked)
    }

    /// A look ended.
    pub fn looked(&self, kind: &str, failed: Option<&str>, is_new: bool) {
        let result = match (failed, is_new) {
            (Some(_), _) => "failed",
            (None, true) => "new",
            (None, false) => "same",
        };
        self.looks.with_label_values(&[kind, result]).inc();
        if let Some(reason) = failed {
            self.errors.with_label_values(&[kind, reason]).inc();
        }
    }

    /// What is looked at, and when each was seen last.
    pub fn targets<'a>(&self, seen: impl Iterator<Item = (&'a str, Option<Timestamp>)>) {
        self.repositories.reset();
        self.oldest.reset();
        for (kind, seen) in seen {
            self.repositories.with_label_values(&[kind]).inc();
            let Some(seen) = seen.map(Timestamp::as_second) else { continue };
            let oldest = self.oldest.with_label_values(&[kind]);
            oldest.set(if oldest.get() == 0 { seen } else { oldest.get().min(seen) });
        }
    }

    /// A webhook was answered.
    pub fn webhook(&self, sender: &str, result: &str) {
        self.webhooks.with_label_values(&[sender, result]).inc();
    }
}
