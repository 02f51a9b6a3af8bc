using System.Text;
using Vmm.Host;
using Vmm.Named.Logs;

namespace Vmm.Tests.Named;

/// <summary>What a machine says, on its way through console.log.</summary>
public sealed class LogTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-log-").FullName;

    private string LogPath => Path.Combine(_directory, LogFormat.FileName);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Each_line_is_there_with_its_time_and_stream()
    {
        DateTime begin = DateTime.UtcNow.AddMilliseconds(-1);
        Write(("out 1\nout 2\n", false), ("bad\n", true));
        List<(LogLine Parts, string Text)> lines = Lines();
        Assert.Equal(["out 1", "out 2"], lines.Where(static line => !line.Parts.IsError).Select(static line => line.Text));
        Assert.Equal(["bad"], lines.Where(static line => line.Parts.IsError).Select(static line => line.Text));
        Assert.All(lines, line => Assert.InRange(line.Parts.Time!.Value, begin, DateTime.UtcNow));
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z std(out|err) F ", File.ReadAllLines(LogPath)[0]);
    }

    /// <summary>Whatever it is and however it is cut: bytes come out as they went in.</summary>
    [Fact]
    public void Bytes_are_kept_as_they_are()
    {
        var random = new Random(16);
        byte[] said = new byte[300_000];
        random.NextBytes(said);
        for (int i = 0; i < said.Length; i += random.Next(1, 20_000))
        {
            said[i] = (byte)'\n';
        }

        Write([.. Pieces(said, random).Select(static piece => (piece, false))]);
        using var joined = new MemoryStream();
        foreach (byte[] line in RawLines())
        {
            LogLine parts = LogFormat.Read(line);
            Assert.NotNull(parts.Time);
            joined.Write(line.AsSpan(parts.TextAt));
            joined.Write(parts.IsWhole ? "\n"u8 : []);
        }

        Assert.Equal(said, joined.ToArray());
    }

    [Fact]
    public void A_prompt_without_an_end_is_written_all_the_same()
    {
        (FileDescriptor read, FileDescriptor write) = MakePipe();
        (FileDescriptor error, FileDescriptor none) = MakePipe();
        using var log = new LogWriter(_directory, read, error);
        Say(write, "login: "u8);
        SpinWait.SpinUntil(() => new FileInfo(LogPath).Length > 0, TimeSpan.FromSeconds(30));
        Assert.Equal([("login: ", false)], Lines().Select(static line => (line.Text, line.Parts.IsWhole)));
        Say(write, "root\n"u8);
        write.Dispose();
        none.Dispose();
        log.Finish();
        Assert.Equal([("login: ", false), ("root", true)], Lines().Select(static line => (line.Text, line.Parts.IsWhole)));
    }

    [Fact]
    public void The_log_does_not_grow_for_ever()
    {
        byte[] line = Encoding.ASCII.GetBytes(new string('x', 4000) + "\n");
        Write([.. Enumerable.Repeat((line, false), 6000)]);       // 24 MiB
        Assert.InRange(new FileInfo(LogPath).Length, 1, 8 << 20);
        Assert.InRange(new FileInfo(Path.Combine(_directory, LogFormat.OldFileName)).Length, 7 << 20, 8 << 20);
        Assert.Equal(2, Directory.GetFiles(_directory).Length);
        int count = 0;
        using var reader = new LogReader(_directory);
        reader.ReadOn(_ => count++);
        Assert.InRange(count, 2000, 4200);
    }

    [Fact]
    public void Who_follows_it_reads_on_where_a_new_file_was_begun()
    {
        using var reader = new LogReader(_directory);
        var read = new List<string>();
        void ReadOn() => reader.ReadOn(line => read.Add(Encoding.ASCII.GetString(line)));
        ReadOn();
        File.WriteAllText(LogPath, "one\ntw");
        ReadOn();
        File.AppendAllText(LogPath, "o\nthree\n");
        File.Move(LogPath, Path.Combine(_directory, LogFormat.OldFileName));
        File.WriteAllText(LogPath, "four\n");
        ReadOn();
        ReadOn();
        Assert.Equal(["one", "two", "three", "four"], read);
    }

    [Theory]
    [InlineData("")]
    [InlineData("vmm: an old line")]
    [InlineData("2026-11-27T08:00:00.000000Z stdout X text")]
    [InlineData("2026-13-27T08:00:00.000000Z stdout F text")]
    public void A_line_of_another_form_is_one_of_vmms_own(string line) =>
        Assert.Equal(new LogLine(null, IsError: true, IsWhole: true, 0), LogFormat.Read(Encoding.ASCII.GetBytes(line)));

    private static IEnumerable<byte[]> Pieces(byte[] all, Random random)
    {
        for (int done = 0; done < all.Length;)
        {
            int length = Math.Min(all.Length - done, random.Next(1, 9000));
            yield return all[done..(done + length)];
            done += length;
        }
    }

    private static (FileDescriptor Read, FileDescriptor Write) MakePipe()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        Assert.Equal(0, LibC.fcntl(read.Number, LibC.F_SETFL, LibC.O_NONBLOCK));
        return (read, write);
    }

    private static unsafe void Say(FileDescriptor pipe, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            fixed (byte* start = bytes)
            {
                // SAFETY: as many bytes as the span has.
                long written = LibC.write(pipe.Number, start, bytes.Length);
                Assert.True(written > 0);
                bytes = bytes[(int)written..];
            }
        }
    }

    private void Write(params (string Text, bool IsError)[] said) =>
        Write([.. said.Select(static each => (Encoding.UTF8.GetBytes(each.Text), each.IsError))]);

    private void Write((byte[] Bytes, bool IsError)[] said)
    {
        (FileDescriptor output, FileDescriptor outputEnd) = MakePipe();
        (FileDescriptor error, FileDescriptor errorEnd) = MakePipe();
        using var log = new LogWriter(_directory, output, error);
        foreach ((byte[] bytes, bool isError) in said)
        {
            Say(isError ? errorEnd : outputEnd, bytes);
        }

        log.Finish();
        outputEnd.Dispose();
        errorEnd.Dispose();
    }

    private List<byte[]> RawLines()
    {
        var lines = new List<byte[]>();
        using var reader = new LogReader(_directory);
        reader.ReadOn(line => lines.Add(line.ToArray()));
        return lines;
    }

    private List<(LogLine Parts, string Text)> Lines() =>
        [.. RawLines().Select(static line => (LogFormat.Read(line), Encoding.UTF8.GetString(line.AsSpan(LogFormat.Read(line).TextAt))))];
}
