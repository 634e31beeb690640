//! The system's limit of open files: each connection, document and file of the database is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a busy node may come to need.
const NEEDED: u64 = 4096;

/// Raises this process's limit to what the system allows it, which is told; none where there is no limit.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
    getrlimit(Resource::Nofile).current
}

/// [`raise`], with a warning where it is too low.
pub fn prepare() {
    match raise() {
        Some(limit) if limit < NEEDED => tracing::warn!(
            limit,
            needed = NEEDED,
            "few files may be open at once, and connections will be refused: raise the hard limit (ulimit -Hn, LimitNOFILE)"
        ),
        limit => tracing::debug!(?limit, "files that may be open at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).unwrap();
        assert_eq!(raise(), maximum);
    }
}
