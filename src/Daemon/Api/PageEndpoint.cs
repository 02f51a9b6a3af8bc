using System.Security.Cryptography;
using System.Text;

namespace Vmm.Daemon.Api;

/// <summary>The page at /: machines, what is done to them, and their consoles. It is one document, and needs nothing from elsewhere.</summary>
internal static class PageEndpoint
{
    private static readonly Lazy<string> Page = new(static () => Read("index.html")
        .Replace("/*xterm.css*/", Read("xterm.css"), StringComparison.Ordinal)
        .Replace("/*xterm.js*/", Read("xterm.js"), StringComparison.Ordinal));

    public static void Map(IEndpointRouteBuilder app) => app.MapGet("/", Get).ExcludeFromDescription();

    private static async Task Get(HttpContext context)
    {
        // Only the page's own scripts run, whatever a machine's console or verdict has in it.
        string nonce = Convert.ToBase64String(RandomNumberGenerator.GetBytes(18));
        HttpResponse response = context.Response;
        response.ContentType = "text/html; charset=utf-8";
        response.Headers.CacheControl = "no-store";
        response.Headers.ContentSecurityPolicy =
            $"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
        response.Headers.XContentTypeOptions = "nosniff";
        await response.Body.WriteAsync(Encoding.UTF8.GetBytes(Page.Value.Replace("@NONCE@", nonce, StringComparison.Ordinal)), context.RequestAborted);
    }

    private static string Read(string name)
    {
        using Stream stream = typeof(PageEndpoint).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
