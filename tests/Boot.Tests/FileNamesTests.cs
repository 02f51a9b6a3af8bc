using System.Text;

namespace Vmm.Boot.Tests;

/// <summary>Names that are not UTF-8.</summary>
public sealed class FileNamesTests
{
    [Fact]
    public void All_bytes_come_back()
    {
        var random = new Random(1);
        for (int round = 0; round < 5000; round++)
        {
            byte[] bytes = new byte[random.Next(40)];
            random.NextBytes(bytes);
            if (round % 2 == 0)
            {
                bytes = Encoding.UTF8.GetBytes("é€😀x");
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            Assert.Equal(bytes, FileNames.ToBytes(FileNames.FromBytes(bytes)));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("plain")]
    [InlineData("é€😀")]
    public void Utf8_is_read_as_ever(string name)
    {
        Assert.Equal(name, FileNames.FromBytes(Encoding.UTF8.GetBytes(name)));
        Assert.Equal(Encoding.UTF8.GetBytes(name), FileNames.ToBytes(name));
    }

    [Fact]
    public void Arguments_are_taken_from_the_command_line_where_dotnet_lost_them()
    {
        byte[] line = [.. "vmm\0--kernel\0caf"u8, 0xe9, 0, .. "--x\0"u8];
        string[] lossy = ["--kernel", "caf\ufffd", "--x"];
        string[] found = FileNames.Arguments(lossy, line);
        Assert.Equal(["--kernel", "caf\udce9", "--x"], found);
        Assert.Equal([.. "caf"u8, 0xe9], FileNames.ToBytes(found[1]));
        string[] usual = ["--kernel", "café"];
        Assert.Same(usual, FileNames.Arguments(usual));
        Assert.Same(lossy, FileNames.Arguments(lossy, "x\0"u8));
    }

    [Fact]
    public void A_variable_is_taken_from_the_environment_where_dotnet_lost_it()
    {
        byte[] environment = [.. "PATH=/bin\0XA=1\0A=caf"u8, 0xe9, 0, .. "B=\0"u8];
        Assert.Equal("caf\udce9", FileNames.Variable("A", environment));
        Assert.Equal("", FileNames.Variable("B", environment));
        Assert.Null(FileNames.Variable("C", environment));
        Assert.Equal(Environment.GetEnvironmentVariable("PATH"), FileNames.Variable("PATH"));
    }

    /// <summary>No theory: an attribute cannot hold a lone surrogate.</summary>
    [Fact]
    public void What_is_not_text_is_told_apart()
    {
        Assert.All((string[])["", "caf\u00e9 \ufffd \ud83d\ude00"], static name => Assert.True(FileNames.IsText(name)));
        Assert.All((string[])["caf\udce9", "\ud83d"], static name => Assert.False(FileNames.IsText(name)));
    }

    [Fact]
    public void A_kernel_whose_name_is_not_utf8_is_opened_and_so_is_one_that_has_no_length()
    {
        using ImageSource status = ImageSource.OpenFile("/proc/self/status", "kernel");
        Assert.InRange(status.Length, 100, 100_000);
        byte[] start = new byte[5];
        Assert.True(status.TryRead(0, start));
        Assert.Equal("Name:"u8.ToArray(), start);

        string folder = Directory.CreateTempSubdirectory("vmm-names-").FullName;
        string name = Path.Combine(folder, "caf\udce9");
        using System.Diagnostics.Process shell = System.Diagnostics.Process.Start(
            "sh", ["-c", $"printf kernel > {folder}/$(printf 'caf\\351')"]);
        shell.WaitForExit();
        using (ImageSource source = ImageSource.OpenFile(name, "kernel"))
        {
            Assert.Equal(6, source.Length);
        }

        using System.Diagnostics.Process remove = System.Diagnostics.Process.Start("rm", ["-r", folder]);
        remove.WaitForExit();
    }
}
