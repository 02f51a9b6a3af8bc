using System.Text.RegularExpressions;
using Vmm.Daemon.Tests.StandIns;

namespace Vmm.Daemon.Tests.Api;

public sealed class PageTests
{
    [Fact]
    public async Task The_page_is_one_document_that_needs_nothing_from_elsewhere()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        using HttpResponseMessage response = await daemon.Client.GetAsync("/");
        string page = await response.Content.ReadAsStringAsync();
        string policy = response.Headers.GetValues("Content-Security-Policy").Single();
        string nonce = Regex.Match(policy, "'nonce-([^']+)'").Groups[1].Value;
        Assert.Equal(2, Regex.Count(page, $"<script nonce=\"{Regex.Escape(nonce)}\">"));
        Assert.Equal(2, Regex.Count(page, "<script"));
        Assert.DoesNotContain("/*xterm", page, StringComparison.Ordinal);
        Assert.DoesNotMatch("(?:src|href)=\"(?!data:)", page);
        Assert.NotEqual(page, await daemon.Client.GetStringAsync("/"));      // a nonce of its own
    }
}
