//! Every storage engine through the conformance suite.

mod memory {
    use std::sync::Arc;

    use hallmark::adapters::memory::Memory;
    use hallmark::ports::Storage;

    use crate::conformance::Engine;

    struct InMemory(Memory);

    #[async_trait::async_trait]
    impl Engine for InMemory {
        async fn open(&self) -> Arc<dyn Storage> {
            Arc::new(self.0.another())
        }

        fn shared(&self) -> bool {
            true
        }
    }

    crate::conformance_tests!(InMemory(Memory::new()));
    crate::process_tests!(InMemory(Memory::new()));
}

mod sled {
    use std::sync::Arc;

    use hallmark::adapters::sled::{Sled, SledOptions};
    use hallmark::ports::Storage;

    use crate::conformance::Engine;

    struct InDirectory(tempfile::TempDir);

    #[async_trait::async_trait]
    impl Engine for InDirectory {
        async fn open(&self) -> Arc<dyn Storage> {
            Arc::new(Sled::open(&SledOptions::new(self.0.path())).expect("open the database"))
        }
    }

    crate::conformance_tests!(InDirectory(tempfile::tempdir().expect("a directory")));
}
