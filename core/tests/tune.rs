//! The tuner, from outside.

use libruntime_core::runtime::{Affinity, Builder};
use std::io::ErrorKind;

#[test]
fn tuner_where_there_can_be_none_is_refused() {
    let refused = |builder: &mut Builder| builder.tuner(true).build().unwrap_err();
    let unwatched = refused(Builder::new().worker_threads(2).stall_watch(false));
    assert_eq!(unwatched.kind(), ErrorKind::InvalidInput);
    assert!(unwatched.to_string().contains("stalls"), "{unwatched}");
    let runtime = Builder::new()
        .worker_threads(2)
        .stall_watch(false)
        .build()
        .unwrap();
    let later = runtime.handle().set_tuner(true).unwrap_err();
    assert_eq!(later.to_string(), unwatched.to_string());
    assert!(!runtime.handle().tuning().on);
    runtime.handle().set_tuner(false).unwrap();
    if let Ok(pinned) = Builder::new()
        .worker_threads(2)
        .affinity(Affinity::Spread)
        .build()
    {
        drop(pinned);
        let refused = refused(Builder::new().worker_threads(2).affinity(Affinity::Spread));
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("pinned"), "{refused}");
    }
}

#[test]
fn tuner_is_off_until_it_is_turned_on() {
    for workers in [1, 2] {
        let runtime = Builder::new().worker_threads(workers).build().unwrap();
        let handle = runtime.handle();
        let tuning = handle.tuning();
        assert!(!tuning.on);
        assert_eq!((tuning.active_workers, tuning.workers), (workers, workers));
        match handle.set_tuner(true) {
            Ok(()) => assert!(handle.tuning().on),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
        handle.set_tuner(false).unwrap();
        assert!(!handle.tuning().on);
        assert!(handle.tuning().decisions.is_empty());
    }
}
