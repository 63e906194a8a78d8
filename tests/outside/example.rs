//! Examples as programs of their own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds an example with these features, into the directory this test was built into; where
/// it is.
pub(crate) fn example(name: &str, features: &str) -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let test = env::current_exe().unwrap();
    // TARGET_DIR/[TRIPLE/]PROFILE/deps/TEST-HASH
    let profile_dir = test.parent().unwrap().parent().unwrap();
    let mut place = profile_dir.strip_prefix(target_dir).unwrap().iter().rev();
    let profile = match place.next().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--example", name, "--features", features])
        .args(["--profile", profile, "--target-dir"])
        .arg(target_dir);
    if let Some(triple) = place.next() {
        cargo.arg("--target").arg(triple);
    }
    assert!(cargo.status().unwrap().success(), "{name} does not build");
    profile_dir.join("examples").join(name)
}
