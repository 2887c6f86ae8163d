//! `keyplane-simulate`: runs schedules, or prints the transcript of one.

// A run allocates many small, short-lived objects.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keyplane_simulation::main()
}
