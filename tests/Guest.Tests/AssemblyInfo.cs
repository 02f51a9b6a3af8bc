using System.Runtime.Versioning;

// Guests are slow on the hosts that have KVM only by emulation: one at a time, so that each gets the whole host.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
[assembly: SupportedOSPlatform("linux")]
