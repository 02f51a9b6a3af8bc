using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Where the time of a Linux boot goes, as vmm tells it.</summary>
public sealed class BootProfileTests(TimelinedGuest guest) : IClassFixture<TimelinedGuest>
{
    [KvmFact]
    public void Every_device_and_register_of_the_boot_has_a_name()
    {
        using JsonDocument profile = Profile();
        string[] lines =
        [
            .. Lines(profile).Select(line => string.Join(' ', Text(line, "reason"), Text(line, "device"), Text(line, "register"), Text(line, "access"))),
        ];
        Assert.Contains("IO COM1 IER write 1", lines);
        Assert.Contains("MMIO virtio-blk0 queue_select write 2", lines);
        Assert.Contains("MMIO virtio-rng0 device_status write 1", lines);
        Assert.DoesNotContain(lines, line => line.Contains("other addresses", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, line => line.Contains("unknown", StringComparison.Ordinal));

        // A register without a name shows its address; ports that stand for a device as a whole are their own name.
        Assert.DoesNotContain(lines, line => Regex.IsMatch(line, "^MMIO .* 0x[0-9a-f]+ "));
        Assert.DoesNotContain(lines, line => Regex.IsMatch(line, "^IO (?!nobody|post|delay|port92|fpu|vga|COM[234]|PCI type 2).* port 0x"));
    }

    [KvmFact]
    public void Its_lines_add_up_to_what_stats_counts_and_to_what_KVM_counts()
    {
        using JsonDocument profile = Profile();
        Dictionary<string, long> byReason = Lines(profile)
            .GroupBy(line => Text(line, "reason"))
            .ToDictionary(group => group.Key, group => group.Sum(Exits));
        Assert.Equal(profile.RootElement.GetProperty("exits").GetInt64(), byReason.Values.Sum());
        foreach (string reason in (string[])["IO", "MMIO"])
        {
            Match counted = Regex.Match(guest.Profiled.Error, $"(?m)^ +([0-9]+) {reason}$");
            Assert.True(counted.Success, guest.Profiled.Error);
            Assert.Equal(long.Parse(counted.Groups[1].Value, CultureInfo.InvariantCulture), byReason[reason]);
        }

        JsonElement[] kvm = [.. profile.RootElement.GetProperty("kvm").EnumerateArray()];
        Assert.Contains(kvm, line => Text(line, "counter") == "mmio_exits" && line.GetProperty("kvm").GetInt64() > 0);
        Assert.All(kvm, line => Assert.True(line.GetProperty("agrees").GetBoolean(), line.ToString()));
    }

    [KvmFact]
    public void Its_trace_has_the_exits_and_the_devices()
    {
        Assert.Equal(0, guest.Profiled.Code);
        using JsonDocument trace = JsonDocument.Parse(File.ReadAllBytes(guest.Trace));
        JsonElement[] events = [.. trace.RootElement.GetProperty("traceEvents").EnumerateArray()];
        Assert.Contains(events, traced => Text(traced, "name") == "virtio-blk0");
        using JsonDocument profile = Profile();
        long dropped = trace.RootElement.GetProperty("otherData").GetProperty("dropped").GetInt64();
        long exits = events.Count(traced => Text(traced, "name") == "KVM_RUN");
        Assert.InRange(exits, profile.RootElement.GetProperty("exits").GetInt64() - dropped, profile.RootElement.GetProperty("exits").GetInt64());
    }

    [KvmFact]
    public void The_timeline_reaches_init_with_its_milestones_in_order_though_the_kernel_was_told_to_be_quiet()
    {
        Assert.Equal(0, guest.Timelined.Code);
        using JsonDocument timeline = JsonDocument.Parse(File.ReadAllBytes(guest.Timeline));
        string[] steps = [.. timeline.RootElement.GetProperty("steps").EnumerateArray().Select(step => Text(step, "name"))];
        string[] wanted =
        [
            "open kernel", "create VM", "load kernel", "vCPUs", "first exit", "console", "kernel speaks", "ACPI", "PCI bus", "serial driver",
            "virtio_blk virtio0", "root mounted", "init", "end",
        ];
        Assert.Equal(wanted, steps.Where(wanted.Contains));
        Assert.True(timeline.RootElement.GetProperty("lines").GetArrayLength() > 50);
        Assert.Contains("Run /sbin/init as init process", File.ReadAllText(guest.Page), StringComparison.Ordinal);
    }

    private JsonDocument Profile()
    {
        Assert.True(guest.Profiled.Code == 0, guest.Profiled.Output + guest.Profiled.Error);
        return JsonDocument.Parse(File.ReadAllBytes(guest.Profile));
    }

    private static JsonElement[] Lines(JsonDocument profile) =>
        [.. profile.RootElement.GetProperty("lines").EnumerateArray()];

    private static long Exits(JsonElement line) => line.GetProperty("exits").GetInt64();

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;
}
