//! `keyplane-simulate`: runs schedules, or one of them to be read.

// A run is made of small things that live shortly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keyplane_simulation::main()
}
