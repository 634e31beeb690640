//! Every metric of the node, with its unit and meaning, in one table (`METRICS`); a test holds that the sources
//! count nothing that does not stand there.
//!
//! Names start with `tributary_`, end in their base unit, and carry no ids as labels: labels are words from fixed
//! lists. The numbers are rendered here and served by the API at `/metrics`; they never leave the node by themselves.

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// How often samples that nobody has fetched yet are summed up, so that they take no memory.
pub const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of histograms of seconds: from a fast write to a stuck one.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Upper bounds of histograms of counts.
const COUNTS: [f64; 10] = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Counter,
    Gauge,
    Histogram,
}

/// Every metric: its form, its name, what it says.
const METRICS: [(Form, &str, &str); 36] = [
    (Form::Gauge, "tributary_build_info", "Always 1; the label is this node's version."),
    (Form::Gauge, "tributary_process_resident_memory_bytes", "Memory that the process holds."),
    (Form::Gauge, "tributary_height", "Last committed height, which is the epoch."),
    (Form::Counter, "tributary_commits_total", "Epochs committed since the start."),
    (Form::Histogram, "tributary_commit_round_count", "Rounds that an epoch took beyond its first; 0 is right."),
    (Form::Histogram, "tributary_commit_objects_count", "Objects in a committed block."),
    (Form::Gauge, "tributary_pool_objects", "Objects that wait for a block."),
    (Form::Gauge, "tributary_pool_bytes", "Bytes of the objects that wait for a block."),
    (Form::Counter, "tributary_refused_total", "What was refused, by where it came from and the one-word reason."),
    (Form::Histogram, "tributary_block_parts_missing_count", "Parts that a block in short left to be fetched."),
    (Form::Counter, "tributary_reconciled_objects_total", "Objects fetched from other nodes' pools."),
    (Form::Histogram, "tributary_checked_objects_count", "Objects whose signatures were checked together."),
    (Form::Histogram, "tributary_driver_batch_seconds", "Time in which the core handled the inputs that waited."),
    (Form::Histogram, "tributary_store_write_seconds", "Time until a batch was on disk."),
    (Form::Counter, "tributary_store_log_bytes_total", "Entries of the agreement's log, which each epoch empties."),
    (Form::Counter, "tributary_content_fetched_bytes_total", "Bytes of documents fetched from peers and verified."),
    (Form::Histogram, "tributary_content_index_seconds", "Time to index a manifest's documents."),
    (Form::Gauge, "tributary_content_index_bytes", "Bytes of the files of the index built or opened last."),
    (Form::Counter, "tributary_attributed_receipts_total", "Receipts attributed to documents."),
    (Form::Histogram, "tributary_attribution_seconds", "Time to attribute an epoch's receipts in a DataNet."),
    (Form::Counter, "tributary_api_requests_total", "Requests to the API, by route and status."),
    (Form::Histogram, "tributary_api_request_seconds", "Time to answer a request to the API."),
    (Form::Gauge, "tributary_network_peers", "Peers that are connected and of our network."),
    (Form::Counter, "tributary_network_published_total", "Publications that left for at least one peer, by topic."),
    (Form::Counter, "tributary_network_publish_dropped_total", "Publications that did not leave, by topic and reason."),
    (Form::Counter, "tributary_network_gossip_received_total", "Gossip handed to the driver, by topic."),
    (Form::Counter, "tributary_network_gossip_dropped_total", "Gossip not handed to the driver, by topic and reason."),
    (Form::Counter, "tributary_network_verdicts_total", "Judgements of gossip, by topic, verdict and reason."),
    (Form::Counter, "tributary_network_direct_received_total", "Messages of agreement that came straight from peers."),
    (Form::Counter, "tributary_network_direct_dropped_total", "Messages that no peer's own stream took, by reason."),
    (Form::Counter, "tributary_network_requests_in_total", "Requests of peers, by protocol and outcome."),
    (Form::Counter, "tributary_network_requests_out_total", "Requests to peers, by protocol and outcome."),
    (Form::Counter, "tributary_network_strikes_total", "Faults of peers, by reason."),
    (Form::Counter, "tributary_network_bans_total", "Bans, by reason."),
    (Form::Counter, "tributary_network_turned_away_total", "Connections ended or refused, by reason."),
    (Form::Counter, "tributary_network_slow_peer_messages_total", "Gossip that slow peers did not take in time."),
];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting. Only once in a process.
pub fn install() -> Result<(), BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_count".to_owned()), &COUNTS)?
        .install_recorder()?;
    for (form, name, help) in METRICS {
        match form {
            Form::Counter => describe_counter!(name, help),
            Form::Gauge => describe_gauge!(name, help),
            Form::Histogram => describe_histogram!(name, help),
        }
    }
    gauge!("tributary_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // A second recorder would have been refused above.
    let _ = HANDLE.set(handle);
    Ok(())
}

/// All metrics in Prometheus' text format; empty if nothing was installed.
pub fn render() -> String {
    if let Some(bytes) = resident_bytes() {
        gauge!("tributary_process_resident_memory_bytes").set(bytes as f64);
    }
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Sums up samples that nobody has fetched yet; to be called every [`UPKEEP`].
pub fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

/// The core's state after a batch.
pub fn node_state(height: u64, pool_objects: usize, pool_bytes: usize) {
    gauge!("tributary_height").set(height as f64);
    gauge!("tributary_pool_objects").set(pool_objects as f64);
    gauge!("tributary_pool_bytes").set(pool_bytes as f64);
}

/// An epoch is committed.
pub fn committed(round: u32, objects: u32) {
    counter!("tributary_commits_total").increment(1);
    histogram!("tributary_commit_round_count").record(round);
    histogram!("tributary_commit_objects_count").record(objects);
}

/// Something was refused, with the one-word reason of the refusal. `source` is where it came from.
pub fn refused(source: &'static str, reason: &'static str) {
    counter!("tributary_refused_total", "source" => source, "reason" => reason).increment(1);
}

/// So many parts of a block that came in short are not here.
pub fn parts_missing(parts: usize) {
    histogram!("tributary_block_parts_missing_count").record(u32::try_from(parts).unwrap_or(u32::MAX));
}

/// So many objects came from another node's pool.
pub fn reconciled(objects: usize) {
    counter!("tributary_reconciled_objects_total").increment(objects as u64);
}

/// The signatures of so many objects are checked together.
pub fn checked(objects: usize) {
    histogram!("tributary_checked_objects_count").record(u32::try_from(objects).unwrap_or(u32::MAX));
}

/// The core handled the inputs that waited.
pub fn driver_batch(took: Duration) {
    histogram!("tributary_driver_batch_seconds").record(took);
}

/// A batch is on disk.
pub fn store_write(took: Duration, log_bytes: usize) {
    histogram!("tributary_store_write_seconds").record(took);
    counter!("tributary_store_log_bytes_total").increment(log_bytes as u64);
}

/// A document was fetched from a peer.
pub fn fetched(bytes: u64) {
    counter!("tributary_content_fetched_bytes_total").increment(bytes);
}

/// A manifest's documents are indexed.
pub fn indexed(bytes: u64, took: Duration) {
    gauge!("tributary_content_index_bytes").set(bytes as f64);
    histogram!("tributary_content_index_seconds").record(took);
}

/// Receipts of one epoch and DataNet are attributed.
pub fn attributed(receipts: usize, took: Duration) {
    counter!("tributary_attributed_receipts_total").increment(receipts as u64);
    histogram!("tributary_attribution_seconds").record(took);
}

/// A request to the API was answered. `route` is the route's pattern, never the path with its ids.
pub fn api_request(route: &'static str, status: u16, took: Duration) {
    counter!("tributary_api_requests_total", "route" => route, "status" => status.to_string()).increment(1);
    histogram!("tributary_api_request_seconds").record(took);
}

/// Memory that this process holds, where the system tells it (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// All texts in the sources that look like the name of a metric where one is counted.
    fn counted(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                counted(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                for form in ["counter!(", "gauge!(", "histogram!("] {
                    let names = source.split(form).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                    found.extend(names.filter_map(|name| name.split('"').next()).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn what_is_counted_is_described_and_what_is_described_is_counted() {
        let mut found = BTreeSet::new();
        // Asked at run time: two checkouts may share one build.
        let daemon = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the daemon is");
        counted(&Path::new(&daemon).join("src"), &mut found);
        // What this function looks for stands in this file as well.
        found.retain(|name| name.starts_with("tributary_"));
        let described: BTreeSet<String> = METRICS.iter().map(|(_, name, _)| (*name).to_owned()).collect();
        assert_eq!(found, described);
        assert_eq!(described.len(), METRICS.len(), "a name stands twice");
    }

    #[test]
    fn names_follow_the_rules() {
        for (form, name, help) in METRICS {
            assert!(name.starts_with("tributary_"), "{name}");
            assert_eq!(name.ends_with("_total"), form == Form::Counter, "{name}");
            let has_unit = name.ends_with("_seconds") || name.ends_with("_count");
            assert_eq!(has_unit, form == Form::Histogram, "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn memory_is_measured() {
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }
}
