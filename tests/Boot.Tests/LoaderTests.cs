using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests;

/// <summary>Memory to load kernels into, and files to load them from.</summary>
public abstract class LoaderTests : IDisposable
{
    private readonly TestMemory _test;

    protected LoaderTests(params (ulong Start, ulong Length)[] regions) => _test = new TestMemory(regions);

    protected GuestMemory Memory => _test.Memory;

    private protected TemporaryFiles Files { get; } = new();

    public void Dispose()
    {
        _test.Dispose();
        Files.Dispose();
        GC.SuppressFinalize(this);
    }
}
