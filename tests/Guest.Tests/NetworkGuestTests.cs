using System.Globalization;
using Vmm.Backends.Networks;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Linux on the three kinds of network, over both transports at once.</summary>
public sealed class NetworkGuestTests(NetworkGuests guests) : IClassFixture<NetworkGuests>
{
    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Both_run_to_their_end_and_leave_no_process_and_no_socket(string transport)
    {
        NetworkGuests.Machine machine = Machine(transport);
        Assert.True(machine.Ended.Code == 0, machine.Ended.Output + machine.Ended.Error);
        Assert.Empty(machine.LeftBehind);
        Assert.True(guests.SocketIsGone);
    }

    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Passt_gives_an_address_and_a_way_to_servers_on_the_hosts_loopback(string transport)
    {
        Assert.Equal("198.51.100.2/24", Machine(transport).Value("address"));
        Assert.Equal(NetworkGuests.Hello, Machine(transport).Value("tcp"));
        Assert.True(Number(transport, "udp") > 0);
    }

    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Published_ports_lead_to_the_guest_by_tcp_and_udp(string transport)
    {
        Assert.Equal(NetworkGuests.Published, Machine(transport).FromPublishedPort);
        Assert.Contains("receiver", Machine(transport).UdpFromPublishedPort, StringComparison.Ordinal);
    }

    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Iperf3_runs_through_a_tap_both_ways(string transport)
    {
        Assert.True(Number(transport, "tap") > 0);
        Assert.True(Number(transport, "back") > 0);
    }

    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Two_machines_ping_each_other_through_a_socket(string transport) =>
        Assert.Equal("3", Machine(transport).Value("ping"));

    [NetworkTheory]
    [InlineData("pci", 0)]
    [InlineData("mmio", 1)]
    public void Addresses_are_derived_from_the_name_and_the_card(string transport, int machine) => Assert.Equal(
        string.Join(' ', Enumerable.Range(0, 3).Select(card => MacAddress.Format(MacAddress.Derive($"machine{machine}", card)))),
        Machine(transport).Value("macs"));

    [NetworkTheory]
    [InlineData("pci")]
    [InlineData("mmio")]
    public void Stats_count_packets_of_each_card(string transport)
    {
        foreach (string card in new[] { "virtio-net0", "virtio-net1", "virtio-net2" })
        {
            Assert.Matches(
                $@"(?m)^network  {card}: [1-9][0-9]* packets \([1-9][0-9]* bytes\) sent, [0-9]+ dropped; "
                + @"[1-9][0-9]* packets \([1-9][0-9]* bytes\) received, [0-9]+ dropped$",
                Machine(transport).Ended.Error);
        }
    }

    [NetworkFact]
    public void On_pci_a_packet_costs_no_exit_at_all()
    {
        // The card on the tap carried all that iperf3 sent, the one on the socket a few pings: setting up cost both the same.
        double packets = Number("pci", "packets");
        long more = Figures.AccessesOf("virtio-net1", guests.Pci.Ended.Error)
            - Figures.AccessesOf("virtio-net2", guests.Pci.Ended.Error);
        Assert.True(packets > 400, guests.Pci.Ended.Output);
        Assert.True(more < packets / 100, guests.Pci.Ended.Error);
    }

    private NetworkGuests.Machine Machine(string transport) => transport == "pci" ? guests.Pci : guests.Mmio;

    private double Number(string transport, string name) =>
        double.Parse(Machine(transport).Value(name), CultureInfo.InvariantCulture);
}

/// <summary>A test that needs KVM, root for taps in a namespace, and partners: skipped, visibly, without.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NetworkTheoryAttribute : TheoryAttribute
{
    public NetworkTheoryAttribute() => Skip = NetworkPartners.WhyNot;
}

/// <summary>As <see cref="NetworkTheoryAttribute"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NetworkFactAttribute : FactAttribute
{
    public NetworkFactAttribute() => Skip = NetworkPartners.WhyNot;
}

internal static class NetworkPartners
{
    public static string? WhyNot { get; } =
        !Vmm.Tests.Shared.Kvm.IsThere ? Vmm.Tests.Shared.Kvm.WhyNot
        : !Environment.IsPrivilegedProcess ? "taps in a network namespace need root"
        : !File.Exists("/dev/net/tun") ? "this host has no taps (/dev/net/tun)"
        : new[] { "/usr/bin/passt", "/usr/bin/iperf3", "/usr/sbin/ip" }.FirstOrDefault(path => !File.Exists(path)) is { } path
            ? $"{path} is missing here"
            : null;
}
