using System.Diagnostics;
using System.Globalization;
using Vmm.Backends.Disks;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>A real process (<see cref="Qcow2Writer"/>) killed by SIGKILL: the image is sound, and holds what was
/// flushed.</summary>
public sealed class Qcow2KilledTests : IDisposable
{
    private const int Never = int.MaxValue;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-killed-").FullName;

    public static TheoryData<string, bool, int> Kinds => new()
    {
        { "compat=1.1,cluster_size=65536", false, 1 },
        { "compat=1.1,cluster_size=4096,refcount_bits=1", true, 2 },
        { "compat=1.1,cluster_size=4096,lazy_refcounts=on", false, 3 },
        { "compat=0.10,cluster_size=512", true, 4 },
    };

    private string Image => Path.Combine(_directory, "image.qcow2");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [QemuTheory]
    [MemberData(nameof(Kinds))]
    public void Killed_behind_a_flush_the_image_equals_its_twin(string options, bool hasBacking, int seed)
    {
        byte[] twin = Create(options, hasBacking, seed);
        int flushes = 5 + seed;
        Assert.Equal(flushes, RunAndKill(seed, flushes, flushes));
        foreach (byte[] state in States(seed, twin, flushes, flushes))
        {
            twin = state;
        }

        QemuImg.CheckIsSound(Image);
        string raw = Path.Combine(_directory, "twin.raw");
        File.WriteAllBytes(raw, twin);
        QemuImg.IsSame(Image, raw);
    }

    [QemuTheory]
    [MemberData(nameof(Kinds))]
    public void Killed_in_the_middle_the_image_is_sound_and_has_what_was_flushed(string options, bool hasBacking, int seed)
    {
        byte[] start = Create(options, hasBacking, seed + 100);
        int told = RunAndKill(seed + 100, 10 + seed, Never);
        QemuImg.CheckIsSound(Image);
        string raw = Path.Combine(_directory, "content.raw");
        (int code, string output) = QemuImg.Run("convert", "-f", "qcow2", "-O", "raw", Image, raw);
        Assert.True(code == 0, output);
        byte[] content = File.ReadAllBytes(raw);

        // The next flush may have been done and not told; then nothing was begun behind it.
        List<byte[]> possible = States(seed + 100, start, told, told + 1);
        for (int at = 0; at < content.Length; at += 512)
        {
            ReadOnlySpan<byte> sector = content.AsSpan(at, 512);
            bool found = false;
            for (int i = 0; i < possible.Count && !found; i++)
            {
                found = sector.SequenceEqual(possible[i].AsSpan(at, 512));
            }

            Assert.True(found, $"sector {at / 512} after flush {told}");
        }
    }

    private byte[] Create(string options, bool hasBacking, int seed)
    {
        var content = new byte[Qcow2Writer.Script.DiskBytes];
        string[] more = [];
        if (hasBacking)
        {
            var backing = new byte[(5 << 18) + 512];    // shorter than the disk
            new Random(seed).NextBytes(backing);
            File.WriteAllBytes(Path.Combine(_directory, "backing.raw"), backing);
            backing.CopyTo(content, 0);
            more = ["-b", "backing.raw", "-F", "raw"];
        }

        QemuImg.Create(Image, options, content.Length.ToString(CultureInfo.InvariantCulture), more);
        return content;
    }

    /// <returns>The last flush that was told of.</returns>
    private int RunAndKill(int seed, int killAfter, int flushes)
    {
        string assembly = typeof(Qcow2Writer).Assembly.Location;
        var start = new ProcessStartInfo(
            "dotnet", [assembly, Qcow2Writer.Command, Image, $"{seed}", flushes.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true,
        };
        using Process writer = Process.Start(start)!;
        int told = 0;
        while (writer.StandardOutput.ReadLine() is { } line)
        {
            Assert.Equal($"{Qcow2Writer.Flushed} {++told}", line);
            if (told == killAfter)
            {
                writer.Kill();      // SIGKILL; what is in the pipe is still read
            }
        }

        writer.WaitForExit();
        Assert.Equal(128 + 9, writer.ExitCode);

        // The kernel takes an io_uring apart, and with it what holds the lock, after the process is gone. Opening waits.
        using var loop = new EventLoop();
        using var engine = new FileEngine(loop);
        DiskFiles.Open(Image, readOnly: false, engine).Dispose();
        return told;
    }

    /// <summary>What the disk holds from one flush to another and after each batch in between.</summary>
    private static List<byte[]> States(int seed, byte[] start, int from, int to)
    {
        var script = new Qcow2Writer.Script(seed);
        byte[] content = start.ToArray();
        var states = new List<byte[]>();
        for (int flushes = 0; flushes < to;)
        {
            var batch = script.Next();
            foreach (var (offset, length, data, _) in batch)
            {
                Span<byte> range = content.AsSpan(offset, length);
                range.Clear();
                data?.CopyTo(range);
            }

            flushes += batch.Length == 0 ? 1 : 0;
            if (flushes >= from)
            {
                states.Add(content.ToArray());
            }
        }

        return states;
    }
}
