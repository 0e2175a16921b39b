//! Has the binary built anew when the UI was: its files are taken in from `ui/embedded`.

fn main() {
    println!("cargo::rerun-if-changed=ui/embedded");
}
