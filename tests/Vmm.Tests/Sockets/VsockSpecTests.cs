using Vmm.Backends.Sockets;
using Vmm.Host;

namespace Vmm.Tests.Sockets;

public sealed class VsockSpecTests
{
    [Fact]
    public void Path_and_address_are_understood()
    {
        Assert.Equal(new VsockSpec("/tmp/a,b", 3), VsockSpec.Parse("/tmp/a,,b"));
        Assert.Equal(new VsockSpec("v", 4294967294), VsockSpec.Parse("v,cid=4294967294"));
        Assert.Equal("v_52", VsockSpec.Parse("v").PathOf(52));
    }

    [Theory]
    [InlineData("", "takes the path of a socket")]
    [InlineData(",cid=3", "takes the path of a socket")]
    [InlineData("v,cid=2", "a number from 3 to 4294967294")]
    [InlineData("v,cid=4294967295", "a number from 3 to 4294967294")]
    [InlineData("v,cid", "'cid' takes a value")]
    [InlineData("v,port=1", "no such option 'port'; there are: cid=N")]
    [InlineData("v0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", "give a shorter one")]
    public void What_is_wrong_is_said_in_one_line(string text, string part)
    {
        string message = Assert.Throws<UsageException>(() => VsockSpec.Parse(text)).Message;
        Assert.StartsWith($"--vsock {text}: ", message, StringComparison.Ordinal);
        Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }
}
