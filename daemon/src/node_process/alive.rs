//! Panics in what runs beside the core. A node must not go on without a part of itself and say that all is well: where one
//! piece of work can be given up alone it is ([`caught`]), else the node stops and says what failed ([`Panics`]).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::mpsc;

/// To whom tasks and threads that panic are reported.
#[derive(Clone, Debug)]
pub struct Panics(mpsc::UnboundedSender<&'static str>);

impl Panics {
    /// The reports come out at the other end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (sender, reports) = mpsc::unbounded_channel();
        (Self(sender), reports)
    }

    /// For a task or thread to hold as long as it runs.
    pub fn guard(&self, name: &'static str) -> PanicGuard {
        PanicGuard { name, panics: self.0.clone() }
    }
}

/// Dropped by a panic, it reports it.
#[derive(Debug)]
pub struct PanicGuard {
    name: &'static str,
    panics: mpsc::UnboundedSender<&'static str>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Where nobody listens the node is stopping anyway.
            let _ = self.panics.send(self.name);
        }
    }
}

/// Does a piece of work that may be given up alone. What it shares with others is behind locks that a panic cannot leave
/// half changed.
///
/// # Errors
/// What it said when it panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| format!("it panicked: {}", said(panic.as_ref())))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_what_it_said() {
        assert_eq!(caught(|| 1), Ok(1));
        let number = 7;
        assert_eq!(caught(|| panic!("no {number}")), Err::<(), _>("it panicked: no 7".to_owned()));
    }

    #[tokio::test]
    async fn tasks_and_threads_that_panic_are_reported_and_others_are_not() {
        let (panics, mut reports) = Panics::channel();
        let guard = panics.guard("ended");
        tokio::spawn(async move { drop(guard) }).await.unwrap();
        let guard = panics.guard("task");
        let task = tokio::spawn(async move {
            let _guard = guard;
            tokio::task::yield_now().await;
            panic!("of a task");
        });
        assert!(task.await.is_err());
        assert_eq!(reports.recv().await, Some("task"));
        let guard = panics.guard("thread");
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("of a thread");
        });
        assert!(thread.join().is_err());
        assert_eq!(reports.recv().await, Some("thread"));
        assert!(reports.try_recv().is_err());
    }
}
