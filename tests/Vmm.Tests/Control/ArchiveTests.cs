using System.Formats.Tar;
using System.Text;
using Vmm.Host;
using Vmm.Run.Copy;

namespace Vmm.Tests.Control;

/// <summary>Archives out of a guest: whatever they hold, nothing lands outside the target. Archives into one hold what was there.</summary>
public sealed class ArchiveTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-archive-").FullName;
    private readonly List<string> _leftOut = [];

    public ArchiveTests()
    {
        Directory.CreateDirectory(Target);
        File.WriteAllText(Path.Combine(_directory, "secret"), "outside");
    }

    private string Target => Path.Combine(_directory, "target");

    public void Dispose()
    {
        // Nothing but the target has changed.
        Assert.Equal("outside", File.ReadAllText(Path.Combine(_directory, "secret")));
        Assert.Equal(
            ["secret", "source", "target"],
            Directory.EnumerateFileSystemEntries(_directory).Select(static path => Path.GetFileName(path)).Append("source").Distinct().Order(StringComparer.Ordinal));
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void A_tree_comes_out_as_it_was()
    {
        Extract(Make(
            Entry(TarEntryType.Directory, "a/", mode: 0x16d),
            Entry(TarEntryType.RegularFile, "a/file", "content", mode: 0x9e8 | 0xe00),
            Entry(TarEntryType.SymbolicLink, "a/link", link: "../../secret"),
            Entry(TarEntryType.HardLink, "a/hard", link: "a/file"),
            Entry(TarEntryType.RegularFile, "a/" + new string('n', 200), "long"),
            Entry(TarEntryType.Fifo, "a/pipe"),
            Entry(TarEntryType.CharacterDevice, "a/null")));
        Assert.Equal("content", File.ReadAllText(At("b/file")));
        Assert.Equal("../../secret", new FileInfo(At("b/link")).LinkTarget);
        Assert.Equal("long", File.ReadAllText(At("b/" + new string('n', 200))));
        Assert.Equal((UnixFileMode)0x1e8, File.GetUnixFileMode(At("b/file")));      // without set-user-id
        Assert.Equal((UnixFileMode)0x16d, File.GetUnixFileMode(At("b")));
        File.AppendAllText(At("b/hard"), "+");
        Assert.Equal("content+", File.ReadAllText(At("b/file")));
        Assert.False(Path.Exists(At("b/pipe")) || Path.Exists(At("b/null")));
        Assert.Equal(2, _leftOut.Count);
    }

    public static TheoryData<string, string> Escapes => new()
    {
        { "../secret", "a name that leads elsewhere" },
        { "a/../../secret", "a name that leads elsewhere" },
        { "/etc/passwd", "a name that leads elsewhere" },
        { "a/..", "a name that leads elsewhere" },
        { "", "" },
        { ".", "a name that leads elsewhere" },
        { "other", "was not asked for" },
        { "a/out/secret", "leads through what is no directory" },
        { "a/deep/secret", "leads through what is no directory" },
        { "a/file/x", "leads through what is no directory" },
    };

    [Theory]
    [MemberData(nameof(Escapes))]
    public void Names_and_links_that_lead_elsewhere_are_refused(string name, string expected)
    {
        foreach (TarEntryType type in (TarEntryType[])[TarEntryType.RegularFile, TarEntryType.Directory, TarEntryType.SymbolicLink, TarEntryType.HardLink])
        {
            foreach (TarEntryFormat format in (TarEntryFormat[])[TarEntryFormat.Gnu, TarEntryFormat.Pax])
            {
                if (name.Length == 0)
                {
                    continue;       // the library writes none
                }

                Directory.Delete(Target, recursive: true);
                Directory.CreateDirectory(Target);
                byte[] archive = Make(
                    format,
                    Entry(TarEntryType.Directory, "a/", format: format),
                    Entry(TarEntryType.RegularFile, "a/file", "x", format: format),
                    Entry(TarEntryType.SymbolicLink, "a/out", link: "../..", format: format),
                    Entry(TarEntryType.SymbolicLink, "a/deep", link: "out/..", format: format),
                    Entry(type, name, type == TarEntryType.RegularFile ? "evil" : null, link: "a/file", format: format));
                Assert.Contains(expected, Assert.Throws<ArchiveException>(() => Extract(archive)).Message, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void Links_to_what_is_elsewhere_are_no_hard_links_of_the_archive()
    {
        foreach (string link in (string[])["../secret", "/etc/passwd", "a/out/secret", "secret"])
        {
            Assert.Throws<ArchiveException>(() => Extract(Make(
                Entry(TarEntryType.Directory, "a/"), Entry(TarEntryType.SymbolicLink, "a/out", link: "../.."), Entry(TarEntryType.HardLink, "a/x", link: link))));
        }
    }

    /// <summary>What the user has in the target may be links, too.</summary>
    [Fact]
    public void What_is_there_is_replaced_and_never_written_through()
    {
        Directory.CreateDirectory(At("b"));
        File.CreateSymbolicLink(At("b/file"), "../../secret");
        Extract(Make(Entry(TarEntryType.RegularFile, "a/file", "new")));
        Assert.Equal("new", File.ReadAllText(At("b/file")));
        Assert.Null(new FileInfo(At("b/file")).LinkTarget);
        File.CreateSymbolicLink(At("b/dir"), "../..");
        Assert.Throws<ArchiveException>(() => Extract(Make(Entry(TarEntryType.RegularFile, "a/dir/secret", "evil"))));
        Extract(Make(Entry(TarEntryType.Directory, "a/dir/")));
        Assert.Null(new FileInfo(At("b/dir")).LinkTarget);
        Assert.Throws<ArchiveException>(() => Extract(Make(Entry(TarEntryType.RegularFile, "a/dir", "a directory is there"))));

        // As root it would be /dev/null.
        using (System.Diagnostics.Process make = System.Diagnostics.Process.Start("mkfifo", [At("b/pipe")]))
        {
            make.WaitForExit();
        }

        foreach (TarEntryType type in (TarEntryType[])[TarEntryType.RegularFile, TarEntryType.Directory, TarEntryType.SymbolicLink])
        {
            Assert.Throws<ArchiveException>(() => Extract(Make(Entry(type, "a/pipe", type == TarEntryType.RegularFile ? "x" : null, link: "x"))));
        }

        Assert.True(ArchiveExtractor.IsSpecial(At("b/pipe")));
    }

    [Fact]
    public void More_than_the_limit_is_refused_before_it_is_written()
    {
        byte[] archive = Make(Entry(TarEntryType.RegularFile, "a/file", new string('x', 100_000)));
        Assert.Contains("--limit", Assert.Throws<ArchiveException>(() => Extract(archive, most: 50_000)).Message, StringComparison.Ordinal);

        // One that says that it has 8 EiB, and one that never ends.
        byte[] huge = Make(Entry(TarEntryType.RegularFile, "a/file", "x"));
        huge[124] = 0x80;
        huge.AsSpan(125, 11).Clear();
        huge[128] = 0x7f;
        Repair(huge);
        Assert.Contains("--limit", Assert.Throws<ArchiveException>(() => Extract(huge)).Message, StringComparison.Ordinal);
        byte[] one = Make(Entry(TarEntryType.RegularFile, "a/file", "x"))[..1024];
        using var endless = new Endless(one);
        Assert.Contains("--limit", Assert.Throws<ArchiveException>(() => Extractor().Extract(new ArchiveGuard(endless, 1 << 20))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData('L')]
    [InlineData('K')]
    [InlineData('x')]
    [InlineData('g')]
    public void A_name_without_an_end_is_refused_before_there_is_memory_for_it(char type)
    {
        byte[] archive = Make(Entry(TarEntryType.RegularFile, "a/file", "x"));
        archive[156] = (byte)type;
        Encoding.ASCII.GetBytes("17777777777\0").CopyTo(archive, 124);
        Repair(archive);
        Assert.Contains("64 KiB", Assert.Throws<ArchiveException>(() => Extract(archive, most: 1L << 40)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Whatever_a_guest_sends_it_is_taken_or_refused_and_nothing_is_outside()
    {
        var random = new Random(16);
        byte[] good = Make(
            Entry(TarEntryType.Directory, "a/"), Entry(TarEntryType.RegularFile, "a/file", "content"),
            Entry(TarEntryType.SymbolicLink, "a/link", link: ".."), Entry(TarEntryType.RegularFile, "a/" + new string('n', 150), "long"));
        for (int round = 0; round < 2000; round++)
        {
            byte[] archive = (byte[])good.Clone();
            for (int i = random.Next(1, 6); i > 0; i--)
            {
                archive[random.Next(512) + (512 * random.Next(archive.Length / 512))] = (byte)random.Next(256);
            }

            for (int at = 0; random.Next(4) != 0 && at < archive.Length; at += 512)
            {
                Repair(archive, at);
            }

            try
            {
                Extract(archive);
            }
            catch (Exception error) when (error is ArchiveException or HostException or ErrnoException)
            {
            }
        }
    }

    [Fact]
    public void A_tree_of_this_host_goes_in_as_it_is()
    {
        string source = Path.Combine(_directory, "source");
        Directory.CreateDirectory(Path.Combine(source, "empty"));
        File.WriteAllText(Path.Combine(source, "file"), "content");
        File.SetUnixFileMode(Path.Combine(source, "file"), (UnixFileMode)0x1c8);
        File.CreateSymbolicLink(Path.Combine(source, "link"), "nowhere");
        Assert.Equal(0, LibC.linkat(LibC.AT_FDCWD, Path.Combine(source, "file"), LibC.AT_FDCWD, Path.Combine(source, "hard"), 0));
        using var archive = new MemoryStream();
        using (var builder = new ArchiveBuilder(archive, _leftOut.Add))
        {
            builder.Add(source, "a");
        }

        Directory.Delete(source, recursive: true);
        Extract(archive.ToArray());
        Assert.Empty(_leftOut);
        Assert.Equal(["empty", "file", "hard", "link"], Directory.EnumerateFileSystemEntries(At("b")).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        Assert.Equal((UnixFileMode)0x1c8, File.GetUnixFileMode(At("b/file")));
        Assert.Equal("nowhere", new FileInfo(At("b/link")).LinkTarget);
        File.WriteAllText(At("b/hard"), "both");
        Assert.Equal("both", File.ReadAllText(At("b/file")));
    }

    /// <summary>Two names that .NET reads as the same would become one file.</summary>
    [Fact]
    public void Names_that_are_not_UTF8_are_left_out_and_counted()
    {
        string source = Path.Combine(_directory, "source");
        Directory.CreateDirectory(source);
        using (System.Diagnostics.Process shell = System.Diagnostics.Process.Start(
            "sh", ["-c", $"cd {source}; echo 1 >$(printf 'n\\377'); ln -s $(printf 'n\\376') link; echo 2 >$(printf 'f\\357\\277\\275')"]))
        {
            shell.WaitForExit();
        }

        using var archive = new MemoryStream();
        using (var builder = new ArchiveBuilder(archive, _leftOut.Add))
        {
            builder.Add(source, "a");
            Assert.Equal(2, builder.NotText);
        }

        Assert.Equal(2, _leftOut.Count);
        using (System.Diagnostics.Process shell = System.Diagnostics.Process.Start("rm", ["-r", source]))
        {
            shell.WaitForExit();
        }

        byte[] mangled = Make(Entry(TarEntryType.RegularFile, "a/n?", "x"), Entry(TarEntryType.RegularFile, "a/m", "y"));
        mangled[3] = 0xff;
        Repair(mangled);
        ArchiveExtractor extractor = Extractor();
        extractor.Extract(new ArchiveGuard(new MemoryStream(mangled), 1 << 20));
        Assert.Equal(1, extractor.NotText);
        Assert.Equal([At("b/m")], Directory.EnumerateFileSystemEntries(At("b")));
        Assert.Contains("1 of its files", Assert.Throws<HostException>(() => CopyNames.Check("db:/a", 1)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(5, "conte")]
    [InlineData(7, "content")]
    [InlineData(9, "content\0\0")]
    public void A_file_that_changes_has_the_length_that_was_said(int length, string expected)
    {
        using var file = new MemoryStream("content"u8.ToArray());
        using var exact = new ExactStream(file, length);
        using var read = new MemoryStream();
        exact.CopyTo(read);
        Assert.Equal(expected, Encoding.ASCII.GetString(read.ToArray()));
        Assert.Equal(length > 7, exact.WasCut);
    }

    private static TarEntry Entry(
        TarEntryType type, string name, string? content = null, string? link = null, int mode = 0x1ed, TarEntryFormat format = TarEntryFormat.Gnu)
    {
        TarEntry entry = format == TarEntryFormat.Pax ? new PaxTarEntry(type, name) : new GnuTarEntry(type, name);
        entry.Mode = (UnixFileMode)(mode & 0xfff);
        if (type is TarEntryType.SymbolicLink or TarEntryType.HardLink)
        {
            entry.LinkName = link!;
        }

        if (content is not null)
        {
            entry.DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content));
        }

        return entry;
    }

    private static byte[] Make(params TarEntry[] entries) => Make(TarEntryFormat.Gnu, entries);

    private static byte[] Make(TarEntryFormat format, params TarEntry[] entries)
    {
        using var bytes = new MemoryStream();
        using (var writer = new TarWriter(bytes, format, leaveOpen: true))
        {
            foreach (TarEntry entry in entries)
            {
                writer.WriteEntry(entry);
            }
        }

        return bytes.ToArray();
    }

    /// <summary>The checksum of a header: the sum of its bytes, with spaces in its own place.</summary>
    private static void Repair(byte[] archive, int at = 0)
    {
        Span<byte> header = archive.AsSpan(at, 512);
        header.Slice(148, 8).Fill((byte)' ');
        int sum = 0;
        foreach (byte each in header)
        {
            sum += each;
        }

        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(header[148..]);
    }

    private string At(string path) => Path.Combine(Target, path);

    private ArchiveExtractor Extractor() => new(Target, "a", "b", _leftOut.Add);

    private void Extract(byte[] archive, long most = 1 << 20) => Extractor().Extract(new ArchiveGuard(new MemoryStream(archive), most));

    private sealed class Endless(byte[] bytes) : MemoryStream
    {
        private int _at;

        public override int Read(Span<byte> buffer)
        {
            int count = Math.Min(buffer.Length, bytes.Length - _at);
            bytes.AsSpan(_at, count).CopyTo(buffer);
            _at = (_at + count) % bytes.Length;
            return count;
        }
    }
}
