//! Values that belong to a task instead of a thread.
//!
//! A scope holds its value itself, next to the future that it polls. For the length of a poll, which
//! borrows the scope, the thread has a pointer to the value; before and after it has whatever an
//! outer scope put there. So a scope costs two stores a poll, moves nothing, and can be entered
//! inside of another, and inside of [`LocalKey::with`].

use pin_project_lite::pin_project;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};
use std::thread;

/// Declares [`LocalKey`]s.
///
/// ```
/// libruntime_core::task_local! {
///     /// Who asked.
///     pub static USER: String;
///     static DEPTH: u32;
/// }
///
/// # let runtime = libruntime_core::runtime::Builder::new().worker_threads(1).build()?;
/// let task = runtime.spawn(USER.scope("ann".to_owned(), async {
///     libruntime_core::task::yield_now().await;
///     USER.with(|user| user.len())
/// }));
/// assert_eq!(runtime.block_on(task)?.unwrap(), 3);
/// assert_eq!(DEPTH.sync_scope(1, || DEPTH.get()), 1);
/// assert!(USER.try_get().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attr:meta])* $visible:vis static $name:ident: $type:ty $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $visible static $name: $crate::task::LocalKey<$type> = {
            ::std::thread_local! {
                static VALUE: ::std::cell::Cell<*const $type> =
                    const { ::std::cell::Cell::new(::std::ptr::null()) };
            }
            // SAFETY: nothing else can name the pointer.
            unsafe { $crate::task::LocalKey::__new(VALUE) }
        };
        $($crate::task_local! { $($rest)* })?
    };
}

/// A value that each task may have one of: see [`task_local!`](crate::task_local).
///
/// It works on any thread and in any executor: what counts is the scope that is polled, not the
/// task. A task that is spawned inside a scope does not inherit the value.
pub struct LocalKey<T: 'static> {
    /// The value of the scope that runs on a thread, or null.
    value: thread::LocalKey<Cell<*const T>>,
}

impl<T: 'static> LocalKey<T> {
    /// For the macro alone.
    ///
    /// # Safety
    /// Nothing else sets the pointer.
    #[doc(hidden)]
    pub const unsafe fn __new(value: thread::LocalKey<Cell<*const T>>) -> LocalKey<T> {
        LocalKey { value }
    }

    /// Gives `future` a value: while it is polled or dropped, the key has this one.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> Scope<T, F> {
        Scope {
            key: self,
            value: Some(value),
            future: Some(future),
        }
    }

    /// Gives `f` a value.
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        self.enter(Some(&value), f)
    }

    /// Calls `f` with the value.
    ///
    /// # Panics
    /// Outside of every scope of this key.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls `f` with the value.
    ///
    /// # Errors
    /// Outside of every scope of this key; then `f` is not called.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = self.value.try_with(Cell::get).unwrap_or(ptr::null());
        // SAFETY: `enter`, further down this thread's stack, borrows the value until it has put
        // something else here.
        unsafe { value.as_ref() }.map(f).ok_or(AccessError(()))
    }

    /// A copy of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// A copy of the value.
    ///
    /// # Errors
    /// As [`try_with`](Self::try_with).
    pub fn try_get(&'static self) -> Result<T, AccessError>
    where
        T: Clone,
    {
        self.try_with(T::clone)
    }

    /// Calls `f` while the key has `value`, or none.
    fn enter<R>(&'static self, value: Option<&T>, f: impl FnOnce() -> R) -> R {
        struct Restore<T: 'static>(&'static LocalKey<T>, *const T);
        impl<T> Drop for Restore<T> {
            fn drop(&mut self) {
                self.0.value.set(self.1);
            }
        }
        let value = value.map_or(ptr::null(), ptr::from_ref);
        let _restore = Restore(self, self.value.replace(value));
        f()
    }
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`LocalKey::scope`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Scope<T, F>
    where
        T: 'static,
    {
        key: &'static LocalKey<T>,
        value: Option<T>,
        #[pin]
        future: Option<F>,
    }

    impl<T: 'static, F> PinnedDrop for Scope<T, F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_future();
        }
    }
}

impl<T: 'static, F> Scope<T, F> {
    /// Takes the value out. The future, should it be polled again, has none then. `None`: it has
    /// been taken already.
    pub fn take_value(self: Pin<&mut Self>) -> Option<T> {
        self.project().value.take()
    }

    /// The drop of the future sees the value too.
    fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.future.is_some() {
            this.key
                .enter(this.value.as_ref(), || this.future.set(None));
        }
    }
}

impl<T: 'static, F: Future> Future for Scope<T, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.as_mut().project();
        let future = this
            .future
            .as_pin_mut()
            .expect("a scope was polled after it had returned its output");
        let polled = this.key.enter(this.value.as_ref(), || future.poll(cx));
        if polled.is_ready() {
            self.drop_future();
        }
        polled
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Scope<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// A [`LocalKey`] has no value here: no scope of it is running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessError(());

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task-local value was asked for outside of every scope that sets it")
    }
}

impl std::error::Error for AccessError {}
