using System.Text;
using Vmm.Devices.Acpi;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Tests.Legacy;
using Vmm.Devices.Virtio.Rng;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Acpi;

public sealed class GenerationIdTests : IDisposable
{
    private static readonly GuestAddress Where = new(0x1000);

    private readonly TestMemory _memory = new(0x4000);
    private readonly RecordingLine _sci = new();
    private readonly PowerManagement _power;
    private readonly GenerationId _id;

    public GenerationIdTests()
    {
        _power = new PowerManagement(_sci, new RecordingPower(), new ManualClock(DateTimeOffset.UnixEpoch));
        _power.Write(18, 1 << PowerManagement.GenerationEvent, 2);
        _id = new GenerationId(_memory.Memory, Where, new Counting(), _power);
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_guest_that_starts_has_a_number_and_is_not_told_of_another()
    {
        _id.Begin();
        Assert.Equal(1UL, At(Where));
        Assert.False(_sci.Level);
        StateWriter.Save(_id);
        Assert.Equal(1UL, At(Where));       // one that is saved and goes on keeps it
        Assert.False(_sci.Level);
    }

    [Fact]
    public void Loading_a_state_writes_another_number_where_that_guest_has_it_and_tells_so()
    {
        _id.Begin();
        StateReader.Load(State("8200"), "m", _id);
        Assert.Equal((1UL, 2UL), (At(Where), At(new GuestAddress(8200))));
        Assert.True(_sci.Level);
        Assert.Equal(State("8200"), StateWriter.Save(_id));
    }

    [Fact]
    public void A_guest_without_one_is_left_alone_for_good()
    {
        _id.Begin();
        _id.LoadNone();
        byte[] state = StateWriter.Save(_id);
        StateReader.Load(state, "m", _id);
        Assert.Equal(1UL, At(Where));
        Assert.False(_sci.Level);
        Assert.Equal(State("0"), state);
    }

    [Theory]
    [InlineData("4097", "is not that of 16 bytes")]
    [InlineData("16376", "is not that of 16 bytes")]
    [InlineData("16384", "is not that of 16 bytes")]
    [InlineData("18446744073709551608", "is not that of 16 bytes")]
    [InlineData("-8", "is no number")]
    [InlineData("\"8\"", "is no number")]
    public void An_address_that_cannot_be_is_refused_by_name(string address, string problem)
    {
        StateException error = Assert.Throws<StateException>(() => StateReader.Load(State(address), "m", _id));
        Assert.Equal("m.address", error.Field);
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        Assert.False(_sci.Level);
    }

    private static byte[] State(string address) => Encoding.UTF8.GetBytes($"{{\"version\":1,\"address\":{address}}}");

    private ulong At(GuestAddress address) => _memory.Memory.Read<ulong>(address);

    /// <summary>1, 2, 3 ...</summary>
    private sealed class Counting : IEntropySource
    {
        private byte _next;

        public void Fill(Span<byte> destination)
        {
            destination.Clear();
            destination[0] = ++_next;
        }
    }
}
