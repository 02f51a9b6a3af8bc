using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class AlongsideTests
{
    [Fact]
    public void Finish_waits_for_the_work()
    {
        using var go = new ManualResetEventSlim();
        int done = 0;
        using var work = new Alongside("test", () =>
        {
            go.Wait();
            done = 1;
        });
        go.Set();
        work.Finish();
        Assert.Equal(1, done);
    }

    [Fact]
    public void Finish_throws_what_the_work_threw()
    {
        using var work = new Alongside("test", () => throw new HostException("no"));
        Assert.Equal("no", Assert.Throws<HostException>(work.Finish).Message);
    }

    [Fact]
    public void Dispose_waits_and_is_silent()
    {
        bool done = false;
        new Alongside("test", () =>
        {
            done = true;
            throw new HostException("nobody asked");
        }).Dispose();
        Assert.True(done);
    }
}
