//! Protects the secrets in this process's memory, and ends the process when it cannot go on.

use std::panic::PanicHookInfo;

use keyplane_model::{Problem, ProblemCode};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::render;

/// Keeps the memory of this process, which holds the PIN and credentials of clouds, out of core dumps. No process of the same user can read
/// it either, except root's.
pub(crate) fn hide() -> Result<(), Problem> {
    // Neither is enough alone: a dump into a program (a `core_pattern` that begins with `|`) ignores a limit of 0, and the dumpable flag is
    // reset if this program is started with other rights than its user's.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }));
    hidden.map_err(|error| {
        let detail = format!("core dumps of this process, which would hold secrets, cannot be turned off: {error}");
        Problem::new(ProblemCode::Internal, detail, "keyplane --version")
    })
}

/// Keeps the memory of this process, with the secrets in it, from being written to swap. `Err`: why not, for people.
///
/// All of it, because nobody can say where an SDK puts a secret. A process with a limit of locked memory is left alone: once it reached the
/// limit, it would get no memory at all.
pub(crate) fn lock() -> Result<(), String> {
    let is_unlimited = getrlimit(Resource::Memlock).current.is_none();
    if !is_unlimited && !capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK)) {
        return Err("its limit (`ulimit -l`) is not `unlimited`, and it lacks CAP_IPC_LOCK".to_owned());
    }
    // ONFAULT: a page is locked when it is first used. Otherwise every thread's stack would be in memory as a whole.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(|error| error.to_string())
}

/// Makes every panic end the process at once, with one message.
///
/// Libraries panic when the operating system gives no thread or no memory. Unwinding would then wait for work that no thread will ever do.
/// Ending is safe at any point: `keyplane apply` resumes.
pub(crate) fn end_at_panic(json: bool) {
    std::panic::set_hook(Box::new(move |panic| {
        let problem = told(panic);
        render::failed(std::slice::from_ref(&problem), json);
        // Not `std::process::exit`: that runs the libraries' exit handlers while threads still use those libraries.
        signal_hook::low_level::exit(i32::from(problem.class.exit_code()));
    }));
}

fn told(panic: &PanicHookInfo<'_>) -> Problem {
    let said = panic.payload_as_str().unwrap_or("no message").replace('\n', " ");
    let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    Problem::new(ProblemCode::Internal, format!("the program cannot go on: {said}{place}"), "keyplane status")
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    /// The test of the running program can check the limit only: root sees everything.
    #[test]
    fn nothing_of_the_process_is_dumped_or_shown() {
        hide().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }

    /// If this fails, it hangs: tokio keeps the work for a thread that never starts.
    #[test]
    fn without_threads_the_program_ends_at_once_with_one_message() {
        const INNER: &str = "KEYPLANE_TEST_WITHOUT_THREADS";
        if std::env::var_os(INNER).is_some() {
            end_at_panic(true);
            let runtime = crate::runtime().unwrap();
            runtime.block_on(async { drop(tokio::task::spawn_blocking(|| ()).await) });
            unreachable!("there are no threads");
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INNER, "1")
            // No stack of that size can be allocated, so no thread starts, as at a limit of processes or of memory.
            .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
            .output()
            .unwrap();
        let told = String::from_utf8(inner.stderr).unwrap();
        assert_eq!(inner.status.code(), Some(12), "{told}");
        let told: Vec<&str> = told.lines().collect();
        assert!(matches!(&told[..], [only] if only.contains("the program cannot go on: ")), "{told:?}");
    }
}
