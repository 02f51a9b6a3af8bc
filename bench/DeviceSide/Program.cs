using System.Globalization;
using Vmm.DeviceSide;

// What devices can do without a VM, for scripts/bench-devices: each command prints numbers, one line each.
switch (args)
{
    case ["disk", string path, string depth, string seconds]:
        Print(DiskFigures.RandomReads(path, Number(depth), TimeSpan.FromSeconds(Number(seconds))));
        return 0;
    case ["queue"]:
        (double nanoseconds, long bytes) = QueueFigures.RoundTrip();
        Print(nanoseconds);
        Print(bytes);
        return 0;
    case ["net", string from, string to, string seconds]:
        (double frames, long allocated) = NetFigures.ThroughTaps(from, to, TimeSpan.FromSeconds(Number(seconds)));
        Print(frames);
        Print(allocated);
        return 0;
    default:
        Console.Error.WriteLine("DeviceSide disk FILE DEPTH SECONDS: 4-KiB random reads a second");
        Console.Error.WriteLine("DeviceSide net TAP TAP SECONDS: 1500-byte frames a second from the one to the other, and bytes allocated");
        Console.Error.WriteLine("DeviceSide queue: nanoseconds for a virtqueue round trip, and bytes allocated in all of them");
        return 64;
}

static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

static void Print(double number) => Console.WriteLine(number.ToString("0.0", CultureInfo.InvariantCulture));
