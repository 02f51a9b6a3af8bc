// Each test boots a machine; on two processors they would only slow each other down.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
