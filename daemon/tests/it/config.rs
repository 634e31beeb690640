//! A node's configuration, as its operator meets it: the documented file, what overrides what, and what is refused.

use daemon::config::{CONFIG_FILE, Config, ConfigError, LogFormat};
use std::path::Path;
use tempfile::TempDir;

fn home_with(toml: &str) -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join(CONFIG_FILE), toml).expect("the file is written");
    home
}

fn load(home: &Path, env: &[(&str, &str)], flags: &[&str]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Config::load(home, env, &flags)
}

/// The sentence, with the home's path left out.
fn refused(toml: &str, env: &[(&str, &str)], flags: &[&str]) -> String {
    let home = home_with(toml);
    let error = load(home.path(), env, flags).expect_err("it must be refused");
    error.to_string().replace(&format!("{}/", home.path().display()), "")
}

#[test]
fn the_file_that_init_writes_documents_every_key_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let default = Config::new(home.path());
    let text = default.to_toml();
    std::fs::write(home.path().join(CONFIG_FILE), &text).unwrap();
    let loaded = load(home.path(), &[], &[]).unwrap();
    assert_eq!(loaded.node.genesis, home.path().join("genesis.json"), "paths are seen from the home");
    assert_eq!((&loaded.network, &loaded.api, &loaded.log), (&default.network, &default.api, &default.log));
    let keys = ["genesis", "key", "validator_key", "record", "listen", "peers", "external", "mdns", "path"];
    for key in keys.into_iter().chain(["blob_quota_bytes", "level", "format"]) {
        assert!(text.contains(&format!("\n# {key} = ")), "{key} is documented, with its default:\n{text}");
    }
}

#[test]
fn uncommenting_every_line_of_the_file_gives_the_same_configuration() {
    let home = tempfile::tempdir().unwrap();
    let text = Config::new(home.path()).to_toml();
    let live = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if setting.contains(" = ") && !setting.contains("FILE") && !setting.contains("HASH") => {
            setting.to_owned()
        }
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(live).collect();
    std::fs::write(home.path().join(CONFIG_FILE), text.join("\n")).unwrap();
    let all_set = load(home.path(), &[], &[]).unwrap();
    std::fs::write(home.path().join(CONFIG_FILE), "").unwrap();
    assert_eq!(all_set, load(home.path(), &[], &[]).unwrap());
}

#[test]
fn what_differs_from_the_default_is_set_in_the_file_and_reads_back() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::new(home.path());
    config.log.format = LogFormat::Json;
    config.network.peers = vec!["/ip4/10.0.0.1/tcp/7371".parse().unwrap()];
    config.storage.path = "da\"ta".into();
    let text = config.to_toml();
    assert!(text.contains("\nformat = \"json\"\n") && text.contains("# default: \"text\"\n"), "{text}");
    std::fs::write(home.path().join(CONFIG_FILE), text).unwrap();
    let loaded = load(home.path(), &[], &[]).unwrap();
    assert_eq!((loaded.log.format, loaded.network.peers), (LogFormat::Json, config.network.peers));
    assert_eq!(loaded.storage.path, home.path().join("da\"ta"));
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let home = home_with("[api]\nlisten = \"127.0.0.1:1\"\n[network]\nmdns = true\n[log]\nlevel = \"warn\"\n");
    let env = [("TRIBUTARY_API_LISTEN", "127.0.0.1:2"), ("TRIBUTARY_NETWORK_MDNS", "false"), ("PATH", "/bin")];
    let config = load(home.path(), &env, &["api.listen=127.0.0.1:3"]).unwrap();
    assert_eq!(config.api.listen.port(), 3);
    assert!(!config.network.mdns);
    assert_eq!(config.log.level, "warn");
    let peers = [("TRIBUTARY_NETWORK_PEERS", "/ip4/10.0.0.1/tcp/1, /ip4/10.0.0.2/udp/2/quic-v1")];
    assert_eq!(load(home.path(), &peers, &[]).unwrap().network.peers.len(), 2);
}

#[test]
fn a_list_outside_the_file_may_have_the_files_form_or_commas_alone() {
    let home = home_with("");
    let (a, b) = ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/udp/2/quic-v1");
    let forms = [
        format!("{a},{b}"),
        format!(" {a} , {b}, "),
        format!("[\"{a}\", \"{b}\"]"),
        format!("['{a}','{b}',]"),
        format!("[{a}, {b}]"),
    ];
    for form in forms {
        let flag = format!("network.peers={form}");
        let addresses = vec![a.parse().unwrap(), b.parse().unwrap()];
        assert_eq!(load(home.path(), &[], &[&flag]).unwrap().network.peers, addresses, "{form}");
        assert_eq!(load(home.path(), &[("TRIBUTARY_NETWORK_PEERS", &form)], &[]).unwrap().network.peers, addresses);
    }
    for none in ["", "[]"] {
        let flag = format!("network.listen={none}");
        assert!(load(home.path(), &[], &[&flag]).unwrap().network.listen.is_empty());
    }
    for wrong in [format!("[{a}"), format!("[\"{a}]"), "\"".to_owned(), "127.0.0.1:80".to_owned()] {
        let said = refused("", &[], &[&format!("network.listen={wrong}")]);
        assert!(said.contains("separated by commas, or the same in the file's form [\"A\", \"B\"]"), "{said}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_right_one() {
    assert_eq!(
        refused("[network]\n\nmndns = true\n", &[], &[]),
        "there is no key `network.mndns` (tributary.toml line 3); did you mean `network.mdns`?"
    );
    assert_eq!(
        refused("[netwrk]\nmdns = true\n", &[], &[]),
        "there is no key `netwrk.mdns` (tributary.toml line 2); did you mean `network.mdns`?"
    );
    assert_eq!(
        refused("listen = 3\n", &[], &[]),
        "there is no key `listen` (tributary.toml line 1)",
        "two keys have this name: neither is guessed"
    );
    assert_eq!(
        refused("", &[("TRIBUTARY_API_LISTN", "127.0.0.1:1")], &[]),
        "there is no key `api.listn` (the variable TRIBUTARY_API_LISTN); did you mean `api.listen`?"
    );
    assert_eq!(
        refused("", &[], &["log.levle=info"]),
        "there is no key `log.levle` (the command line); did you mean `log.level`?"
    );
    assert_eq!(refused("[nonsense]\n", &[], &[]), "there is no key `nonsense` (tributary.toml line 1)");
}

#[test]
fn a_wrong_value_is_told_with_what_is_allowed() {
    let cases = [
        ("[network]\nmdns = \"yes\"", "`network.mdns` (tributary.toml line 2) must be true or false, not \"yes\""),
        (
            "[network]\nlisten = [\"127.0.0.1:80\"]",
            "`network.listen` (tributary.toml line 2) must be a list of addresses such as [\"/ip4/127.0.0.1/tcp/7371\"], \
             not [\"127.0.0.1:80\"]",
        ),
        (
            "[api]\nlisten = 7370",
            "`api.listen` (tributary.toml line 2) must be an address with a port, such as \"127.0.0.1:7370\", not 7370",
        ),
        (
            "[storage]\nblob_quota_bytes = -1",
            "`storage.blob_quota_bytes` (tributary.toml line 2) must be a whole number from 67108864 to \
             1125899906842624, not -1",
        ),
        ("[log]\nformat = \"xml\"", "`log.format` (tributary.toml line 2) must be \"text\" or \"json\", not \"xml\""),
        (
            "[log]\nlevel = \"inof\"",
            "`log.level` (tributary.toml line 2) must be a level (off, error, warn, info, debug, trace), or levels by \
             target, not \"inof\"",
        ),
        ("[node]\nkey = \"\"", "`node.key` (tributary.toml line 2) must be a path in quotes, not \"\""),
    ];
    for (toml, says) in cases {
        assert_eq!(refused(toml, &[], &[]), says);
    }
    assert!(refused("[api\n", &[], &[]).starts_with("tributary.toml line 1 is no TOML: "));
    assert!(
        refused("[api]\nlisten = \"a\"\nlisten = \"b\"\n", &[], &[]).starts_with("tributary.toml line 3 is no TOML: ")
    );
    assert_eq!(refused("", &[], &["api.listen"]), "--set takes KEY=VALUE, not \"api.listen\"");
}

#[test]
fn levels_may_differ_by_target() {
    let home = home_with("[log]\nlevel = \"info,libp2p_gossipsub=warn,daemon::api=trace\"\n");
    assert!(load(home.path(), &[], &[]).is_ok());
}

#[test]
fn a_home_without_a_node_says_how_to_make_one() {
    let home = tempfile::tempdir().unwrap();
    let error = load(home.path(), &[], &[]).unwrap_err();
    assert_eq!(error.code(), "nonode");
    assert!(error.hint().unwrap().starts_with("tributary init --home "));
}
