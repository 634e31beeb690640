//! Compiles the contract in `proto/` into the types that the `wire` module reads and writes, and into a table of its
//! messages and fields, by which bytes are bounded and judged before anything is allocated for them.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

/// From this package's folder, where cargo runs this. An absolute path would be compiled in, and two clones may share one
/// build.
const ROOT: &str = "../proto";
const FILES: [&str; 5] = [
    "tributary/v1/objects.proto",
    "tributary/v1/block.proto",
    "tributary/v1/consensus.proto",
    "tributary/v1/evidence.proto",
    "tributary/v1/sync.proto",
];

// Numbers of descriptor.proto.
const LABEL_REPEATED: i32 = 3;
const TYPE_STRING: i32 = 9;
const TYPE_MESSAGE: i32 = 11;
const TYPE_BYTES: i32 = 12;

#[expect(clippy::disallowed_methods, reason = "a build script writes where cargo tells it to")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile(FILES, [ROOT])?;

    let mut schema = String::new();
    for message in descriptors.file.iter().flat_map(|file| &file.message_type) {
        let name = message.name();
        writeln!(schema, "/// `{name}`.")?;
        writeln!(schema, "pub(super) static {}: Message = Message {{ name: {name:?}, fields: &[", constant(name))?;
        for field in &message.field {
            let kind = field.r#type.unwrap_or_default();
            let delimited = [TYPE_STRING, TYPE_MESSAGE, TYPE_BYTES].contains(&kind);
            let inside = match field.type_name().rsplit('.').next() {
                Some(inside) if kind == TYPE_MESSAGE => format!("Some(&{})", constant(inside)),
                _ => "None".into(),
            };
            writeln!(
                schema,
                "    Field {{ number: {}, name: {:?}, repeated: {}, delimited: {delimited}, inside: {inside} }},",
                field.number(),
                field.name(),
                field.label == Some(LABEL_REPEATED),
            )?;
        }
        writeln!(schema, "] }};")?;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("schema.rs"), schema)?;

    prost_build::Config::new().disable_comments(["."]).compile_fds(descriptors)?;
    Ok(())
}

/// `DataNet` becomes `DATA_NET`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}
