using System.Text.Json;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Mvc;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Api;

/// <summary>Every error is application/problem+json (RFC 9457): the status, a message for the user in detail, and a code for programs.</summary>
internal sealed partial class Problems(IProblemDetailsService service, ILogger<Problems> logger) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext httpContext, Exception exception, CancellationToken cancellationToken)
    {
        ProblemDetails problem = Of(exception);
        if (problem.Status == StatusCodes.Status500InternalServerError)
        {
            LogUnexpected(exception, httpContext.Request.Method, httpContext.Request.Path);
        }

        httpContext.Response.StatusCode = problem.Status!.Value;
        return await service.TryWriteAsync(new ProblemDetailsContext { HttpContext = httpContext, ProblemDetails = problem, Exception = exception });
    }

    public static int StatusOf(string code) => code switch
    {
        "no-such-machine" => StatusCodes.Status404NotFound,
        "quota" or "forbidden" => StatusCodes.Status403Forbidden,
        "name-taken" or "not-running" or "not-now" or "no-stream" => StatusCodes.Status409Conflict,
        "refused" or "bad-arguments" => StatusCodes.Status422UnprocessableEntity,
        "no-websocket" => StatusCodes.Status426UpgradeRequired,
        "busy" => StatusCodes.Status503ServiceUnavailable,
        "no-answer" => StatusCodes.Status504GatewayTimeout,
        _ => StatusCodes.Status502BadGateway,
    };

    private static ProblemDetails Of(Exception error) => error switch
    {
        RequestException request => Coded(
            new HttpValidationProblemDetails(request.Faults) { Title = null, Detail = Line(request.Faults) },
            StatusCodes.Status422UnprocessableEntity, "bad-request"),
        MachineException machine => Coded(new ProblemDetails { Detail = machine.Message }, StatusOf(machine.Code), machine.Code),
        BadHttpRequestException { InnerException: JsonException json } => Coded(
            new ProblemDetails { Detail = Explain(json) }, StatusCodes.Status400BadRequest, "bad-request"),
        BadHttpRequestException bad => Coded(new ProblemDetails { Detail = bad.Message }, bad.StatusCode, "bad-request"),
        IOException or UnauthorizedAccessException => Coded(
            new ProblemDetails { Detail = error.Message }, StatusCodes.Status500InternalServerError, "failed"),
        _ => Coded(
            new ProblemDetails { Detail = "vmmd has failed; its log tells more" }, StatusCodes.Status500InternalServerError, "internal"),
    };

    private static ProblemDetails Coded(ProblemDetails problem, int status, string code)
    {
        problem.Status = status;
        problem.Extensions["code"] = JsonSerializer.SerializeToElement(code, ProblemJson.Default.String);
        return problem;
    }

    private static string Line(IDictionary<string, string[]> faults) => string.Join("; ", faults.Select(static each => $"{each.Key} {each.Value[0]}"));

    /// <summary>.NET's own words, without the names of vmmd's types.</summary>
    private static string Explain(JsonException error)
    {
        string where = error.Path is { Length: > 1 } path ? path[1..].TrimStart('.') : "the body";
        return error.Message.Contains("could not be mapped", StringComparison.Ordinal) ? $"{where}: there is no such field"
            : error.Message.Contains("missing required", StringComparison.Ordinal) ? $"{where}: a field that is required is missing"
            : error.Message.Contains("could not be converted", StringComparison.Ordinal) || error.Message.Contains("null", StringComparison.Ordinal)
                ? $"{where}: not of the kind that it has to be"
            : $"not JSON, at byte {error.BytePositionInLine} of line {error.LineNumber + 1}";
    }

    [LoggerMessage(40, LogLevel.Error, "{Method} {Path} failed")]
    private partial void LogUnexpected(Exception error, string method, string path);
}

[System.Text.Json.Serialization.JsonSerializable(typeof(string))]
internal sealed partial class ProblemJson : System.Text.Json.Serialization.JsonSerializerContext;
