// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IEnergyTrading} from "./interfaces/IEnergyTrading.sol";
import {IForcedBids} from "./interfaces/IForcedBids.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {HeaderRules} from "./libraries/HeaderRules.sol";
import {Messages} from "./libraries/Messages.sol";

/// @title Forced inclusion, and the way out when the operator is gone.
/// @notice An order created here is a bid that the operator must carry into the auctions exactly as it stands: its
/// version has the highest bit set and outranks every signed one, and the settlement refutes a slot that alters it.
/// While no header arrived for `escapeAfterS`, anybody may match two orders of the same quarter-hour: the buyer's money
/// is held here from the match until delivery is over.
contract EnergyTrading is IEnergyTrading, IForcedBids {
    using SafeERC20 for IERC20;

    /// @notice A match made without the operator. `cost` is in base units of the token.
    struct Trade {
        uint256 buyOrderId;
        uint256 sellOrderId;
        uint256 amount;
        uint256 price;
        uint256 cost;
        bool settled;
    }

    struct Placed {
        Order order;
        uint64 interval;
        uint64 cancelledAt;
        bytes32 bidHash;
    }

    /// @dev The tick of all limits, in micro-currency per kWh.
    uint256 private constant PRICE_TICK = 100;
    /// @dev Limits of price and quantity that every bid keeps; an order beyond them could not be included.
    uint256 private constant PRICE_LIMIT = 10_000_000;
    uint256 private constant QUANTITY_LIMIT_WH = 1_000_000_000;
    /// @dev Times of bids stay below 2**63 everywhere, so that databases hold them exactly.
    uint256 private constant EXPIRY_LIMIT_S = (1 << 63) - 1;
    uint32 private constant FORCED_VERSION = 1 << 31;
    /// @dev Quarter-hours are auctioned within their last hour: after this long without a header, nothing of an order
    /// that is still open was traded in any header.
    uint64 private constant ESCAPE_FLOOR_S = 3_600;

    /// @notice An order forces `bid`.
    event ForcedOrder(uint256 indexed orderId, Messages.Bid bid);
    /// @notice An order was withdrawn by its trader.
    event OrderCancelled(uint256 indexed orderId);
    /// @notice Two orders were matched without the operator.
    event OrdersMatched(
        uint256 indexed transactionId,
        uint256 indexed buyOrderId,
        uint256 indexed sellOrderId,
        uint256 amount,
        uint256 cost
    );
    /// @notice The seller was paid.
    event TransactionSettled(uint256 indexed transactionId);

    /// @notice The caller is not the trader of the order, or has no account to trade with.
    error NotAuthorised();
    /// @notice The waiting time is shorter than a quarter-hour is traded.
    error EscapeTooEarly(uint64 escapeAfterS);
    /// @notice Nothing, or more than a bid may carry.
    error WrongAmount(uint256 amount);
    /// @notice The price is not on the tick, or beyond what a bid may carry.
    error WrongPrice(uint256 price);
    /// @notice The order expires before its gate closes.
    error ExpiresBeforeGate(uint256 gateS);
    /// @notice No order, or no trade, has that number.
    error UnknownNumber(uint256 number);
    /// @notice The order is not active.
    error NotActive(uint256 orderId);
    /// @notice Headers arrive: the auctions are where these orders trade.
    error OperatorIsAlive(uint256 lastPostedAt);
    /// @notice The orders do not cross: sides, quarter-hour, price or expiry.
    error NoMatch();
    /// @notice Delivery has begun.
    error TooLate();
    /// @notice Delivery is not over.
    error TooEarly(uint256 untilS);
    /// @notice The trade was paid before.
    error AlreadySettled(uint256 transactionId);

    /// @notice The settlement whose accounts trade here.
    ISettlement public immutable settlement;
    /// @notice How long before delivery a quarter-hour's gate closes.
    uint64 public immutable closesBeforeS;
    /// @notice Distance of two rounds.
    uint64 public immutable roundEveryS;
    /// @notice How long no header must have arrived before orders are matched here.
    uint64 public immutable escapeAfterS;

    Placed[] private _orders;
    Trade[] private _trades;

    /// @param settlement_ whose accounts trade here
    /// @param closesBeforeS_ how long before delivery a quarter-hour's gate closes
    /// @param roundEveryS_ distance of two rounds
    /// @param escapeAfterS_ how long no header must have arrived before orders are matched here; at least an hour
    constructor(ISettlement settlement_, uint64 closesBeforeS_, uint64 roundEveryS_, uint64 escapeAfterS_) {
        if (escapeAfterS_ < ESCAPE_FLOOR_S) revert EscapeTooEarly(escapeAfterS_);
        settlement = settlement_;
        closesBeforeS = closesBeforeS_;
        roundEveryS = roundEveryS_;
        escapeAfterS = escapeAfterS_;
        _orders.push();
        _trades.push();
    }

    /// @inheritdoc IEnergyTrading
    function createOrder(uint256 amount, uint256 price, uint256 expiry, OrderType orderType)
        external
        returns (uint256 orderId)
    {
        uint32 account = settlement.accountOf(msg.sender);
        if (account == 0) revert NotAuthorised();
        if (amount == 0 || amount > QUANTITY_LIMIT_WH) revert WrongAmount(amount);
        if (price > PRICE_LIMIT || price % PRICE_TICK != 0) revert WrongPrice(price);
        uint64 interval = nextInterval();
        uint256 gateS = interval * HeaderRules.INTERVAL_S - closesBeforeS;
        if (expiry < gateS || expiry > EXPIRY_LIMIT_S) revert ExpiresBeforeGate(gateS);

        orderId = _orders.length;
        if (orderId >= FORCED_VERSION) revert UnknownNumber(orderId);
        Messages.Bid memory bid = Messages.Bid({
            account: account,
            product: uint64(interval * HeaderRules.PRODUCT_LENGTH_FACTOR + 1),
            version: FORCED_VERSION | uint32(orderId),
            side: uint8(orderType),
            quantityWh: uint64(amount),
            limitPrice: int64(uint64(price)),
            expiryS: uint64(expiry)
        });

        Placed storage placed = _orders.push();
        placed.order = Order(msg.sender, amount, price, expiry, orderType, OrderStatus.ACTIVE);
        placed.interval = interval;
        placed.bidHash = Messages.hashStruct(bid);

        emit ForcedOrder(orderId, bid);
    }

    /// @inheritdoc IEnergyTrading
    function cancelOrder(uint256 orderId) external {
        Placed storage placed = _placed(orderId);
        if (placed.order.trader != msg.sender) revert NotAuthorised();
        if (placed.order.status != OrderStatus.ACTIVE) revert NotActive(orderId);
        placed.order.status = OrderStatus.CANCELLED;
        placed.cancelledAt = uint64(block.timestamp);
        emit OrderCancelled(orderId);
    }

    /// @inheritdoc IEnergyTrading
    /// @dev At the middle of the two limits, for the smaller of the two amounts; the rest of the larger stays open.
    function matchOrders(uint256 buyOrderId, uint256 sellOrderId) external {
        uint256 lastPostedAt = settlement.lastPostedAt();
        if (block.timestamp < lastPostedAt + escapeAfterS) revert OperatorIsAlive(lastPostedAt);
        Placed storage buy = _placed(buyOrderId);
        Placed storage sell = _placed(sellOrderId);
        _requireCrossing(buy, buyOrderId, sell, sellOrderId);

        uint256 amount = buy.order.amount < sell.order.amount ? buy.order.amount : sell.order.amount;
        uint256 price = (buy.order.price + sell.order.price) / 2;
        uint256 cost = price * amount * settlement.tokenUnitsPerNano();

        _take(buy.order, amount);
        _take(sell.order, amount);
        uint256 transactionId = _trades.length;
        _trades.push(Trade(buyOrderId, sellOrderId, amount, price, cost, false));

        emit OrdersMatched(transactionId, buyOrderId, sellOrderId, amount, cost);
        IERC20(settlement.token()).safeTransferFrom(buy.order.trader, address(this), cost);
    }

    /// @inheritdoc IEnergyTrading
    function settleTransaction(uint256 transactionId) external {
        Trade memory trade = getTrade(transactionId);
        if (trade.settled) revert AlreadySettled(transactionId);
        uint256 endsAtS = (_orders[trade.sellOrderId].interval + 1) * HeaderRules.INTERVAL_S;
        if (block.timestamp < endsAtS) revert TooEarly(endsAtS);

        _trades[transactionId].settled = true;

        emit TransactionSettled(transactionId);
        IERC20(settlement.token()).safeTransfer(_orders[trade.sellOrderId].order.trader, trade.cost);
    }

    /// @notice The order with that number. Numbers start at 1.
    function getOrder(uint256 orderId) external view returns (Order memory) {
        return _placed(orderId).order;
    }

    /// @notice The quarter-hour an order is forced into, as the number of its interval.
    function intervalOf(uint256 orderId) external view returns (uint64) {
        return _placed(orderId).interval;
    }

    /// @notice When an order was withdrawn; zero where it was not.
    function cancelledAt(uint256 orderId) external view returns (uint64) {
        return _placed(orderId).cancelledAt;
    }

    /// @inheritdoc IForcedBids
    function forcedBidHash(uint256 orderId) external view returns (bytes32) {
        return orderId < _orders.length ? _orders[orderId].bidHash : bytes32(0);
    }

    /// @notice The trade with that number. Numbers start at 1.
    function getTrade(uint256 transactionId) public view returns (Trade memory) {
        if (transactionId == 0 || transactionId >= _trades.length) revert UnknownNumber(transactionId);
        return _trades[transactionId];
    }

    /// @notice The first interval whose gate is at least one round away.
    function nextInterval() public view returns (uint64) {
        uint256 earliestStartS = block.timestamp + roundEveryS + closesBeforeS;
        return uint64((earliestStartS + HeaderRules.INTERVAL_S - 1) / HeaderRules.INTERVAL_S);
    }

    function _placed(uint256 orderId) private view returns (Placed storage) {
        if (orderId == 0 || orderId >= _orders.length) revert UnknownNumber(orderId);
        return _orders[orderId];
    }

    function _requireCrossing(Placed storage buy, uint256 buyOrderId, Placed storage sell, uint256 sellOrderId)
        private
        view
    {
        if (buy.order.status != OrderStatus.ACTIVE) revert NotActive(buyOrderId);
        if (sell.order.status != OrderStatus.ACTIVE) revert NotActive(sellOrderId);
        if (
            buy.order.orderType != OrderType.BUY || sell.order.orderType != OrderType.SELL
                || buy.interval != sell.interval || buy.order.price < sell.order.price
                || buy.order.expiry < block.timestamp || sell.order.expiry < block.timestamp
                || buy.order.trader == sell.order.trader
        ) revert NoMatch();
        if (block.timestamp >= buy.interval * HeaderRules.INTERVAL_S) revert TooLate();
    }

    function _take(Order storage order, uint256 amount) private {
        if (order.amount == amount) order.status = OrderStatus.FILLED;
        order.amount -= amount;
    }
}
