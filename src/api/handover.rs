//! What a thread of the blocking pool hands to the task that waits for it.
//!
//! Most reads take less time than a worker of the runtime takes to go to sleep and to be woken through the
//! runtime, which wakes a second one each time. So the worker waits for a short while by itself, woken by
//! the thread that computes; only then does it turn to other tasks.

use std::{
    thread::{self, Thread},
    time::Duration,
};

use tokio::sync::oneshot;

/// How long a worker waits by itself; what else it has to do waits no longer than this.
const PATIENCE: Duration = Duration::from_micros(200);

/// A pair for one value. To be made where [`Taker::take`] is called, before anything is awaited.
pub(super) fn hand_over<T>() -> (Giver<T>, Taker<T>) {
    let (value, taken) = oneshot::channel();
    let worker = thread::current();
    (Giver { value, worker }, Taker(taken))
}

/// For the thread that computes. If it is dropped, there is no value.
#[derive(Debug)]
pub(super) struct Giver<T> {
    value: oneshot::Sender<T>,
    worker: Thread,
}

impl<T> Giver<T> {
    /// Hands over the value.
    ///
    /// # Errors
    /// The value, when nobody waits for it any more.
    pub(super) fn give(self, value: T) -> Result<(), T> {
        self.value.send(value)?;
        self.worker.unpark();
        Ok(())
    }
}

/// For the task that waits; dropping it tells the giver that nobody does.
#[derive(Debug)]
pub(super) struct Taker<T>(oneshot::Receiver<T>);

impl<T> Taker<T> {
    /// The value, or nothing if there will be none.
    pub(super) async fn take(self) -> Option<T> {
        self.take_after(PATIENCE).await
    }

    /// [`Taker::take`] with so much patience.
    async fn take_after(self, patience: Duration) -> Option<T> {
        // Whatever ends this, a wake-up meant for another wait too, the value is looked for behind it.
        thread::park_timeout(patience);
        self.0.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_worker_that_waits_is_woken_by_the_value() {
        const FOREVER: Duration = Duration::from_secs(1 << 30);
        const DEADLINE: Duration = Duration::from_mins(1);
        let (to_giver, giver) = mpsc::channel();
        let (to_test, taken) = mpsc::channel();
        let worker = thread::spawn(move || {
            let (giver, taker) = hand_over();
            to_giver.send(giver).unwrap();
            let runtime = Builder::new_current_thread().build().unwrap();
            let value = runtime.block_on(taker.take_after(FOREVER));
            to_test.send(value).unwrap();
        });
        assert_eq!(giver.recv().unwrap().give(1), Ok(()));
        assert_eq!(taken.recv_timeout(DEADLINE), Ok(Some(1)));
        worker.join().unwrap();
    }

    #[tokio::test]
    async fn a_value_arrives_whether_it_is_given_early_late_or_never() {
        let (giver, taker) = hand_over();
        assert_eq!(giver.give(1), Ok(()));
        assert_eq!(taker.take().await, Some(1));

        let (giver, taker) = hand_over();
        let (parked, has_parked) = oneshot::channel();
        let late = async {
            // Joined behind the wait, so the worker has turned away from it.
            parked.send(()).unwrap();
        };
        let thread = tokio::task::spawn_blocking(move || {
            has_parked.blocking_recv().unwrap();
            giver.give(2)
        });
        let (taken, ()) = tokio::join!(taker.take(), late);
        assert_eq!((taken, thread.await.unwrap()), (Some(2), Ok(())));

        let (giver, taker) = hand_over::<i32>();
        drop(giver);
        assert_eq!(taker.take().await, None);
        let (giver, taker) = hand_over();
        drop(taker);
        assert_eq!(giver.give(3), Err(3));
    }
}
